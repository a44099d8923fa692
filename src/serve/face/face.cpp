#include "serve/face/face.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"

namespace ration {

bool is_model_name(std::string_view name, const std::vector<std::string>& names) {
  constexpr std::string_view kLatest = ":latest";
  if (std::ranges::find(names, name) != names.end()) return true;
  if (!name.ends_with(kLatest)) return false;
  name.remove_suffix(kLatest.size());
  return std::ranges::find(names, name) != names.end();
}

std::variant<const ModelView*, ApiError> find_model(std::string_view name,
                                                    std::span<const ModelView> models) {
  std::vector<std::string> all;
  for (const ModelView& model : models) {
    const std::vector<std::string>& names = model.card.names;
    if (is_model_name(name, names)) return &model;
    all.insert(all.end(), names.begin(), names.end());
  }
  return unknown_model(name, all);
}

ApiError unknown_model(std::string_view name, const std::vector<std::string>& names) {
  const std::string shown = to_valid_utf8(name.substr(0, 100));
  std::string hint = did_you_mean(shown, names);
  if (hint.empty()) hint = fmt::format("this server has '{}'", names.front());
  return {.status = 404,
          .type = "not_found_error",
          .code = "model_not_found",
          .message = fmt::format("there is no model '{}', {}", shown, hint),
          .param = "model"};
}

}  // namespace ration
