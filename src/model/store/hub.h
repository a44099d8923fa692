// model/store/hub.h - the Hugging Face hub: its cache on this machine and its web interface.
// Private to the store.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/store/quant.h"
#include "model/store/reference.h"
#include "model/store/store.h"

namespace ration {

// What the environment says, read at each use.
struct HubSettings {
  std::string endpoint{};  // HF_ENDPOINT, else the hub itself; no slash at the end
  std::string token{};     // "" when there is none
  std::filesystem::path
      cache{};           // the folder of models--user--repo; "" when HOME is not set either
  bool offline = false;  // HF_HUB_OFFLINE
};
HubSettings read_hub_settings();

// What a repository holds at one revision.
struct HubListing {
  std::string commit{};
  std::string licence{};
  std::vector<RemoteFile> files{};
};

// Asks the hub. Errors as Store::pull; refusals say what a token would change.
Result<HubListing> ask_hub(const HubSettings& settings, const HubSource& source,
                           const RetryPolicy& retry, const Clock& clock,
                           const std::function<bool()>& keep_going);

// Takes the hub's answer apart. kNetwork when it is not what was asked for. Untrusted input.
Result<HubListing> parse_hub_listing(std::string_view text, std::string_view where);

// Where a repository's files begin; a file is at <this><commit>/<path>.
std::string hub_files_url(const HubSettings& settings, const HubSource& source);
std::string hub_refusal_hint(const HubSettings& settings);

// A model in the hub's cache; nullopt when it is not there.
Result<std::optional<ResolvedModel>> find_in_hub_cache(const HubSettings& settings,
                                                       const HubSource& source);
// All GGUF models in it.
std::vector<ResolvedModel> list_hub_cache(const HubSettings& settings);

}  // namespace ration
