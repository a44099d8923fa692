// What the store reads from people and from the network: references, catalogues, manifests, the
// hub's listings, pip's output. The first byte says which; an Error or something that keeps its
// promises.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "model/store/catalogue.h"
#include "model/store/hub.h"
#include "model/store/pip.h"
#include "model/store/quant.h"
#include "model/store/reference.h"
#include "model/store/shelf.h"

namespace ration {
namespace {

void try_reference(std::string_view text) {
  const std::string file = file_name_for(text);
  CHECK(file.size() <= 200 && file.find('/') == std::string::npos && !file.starts_with('.'));
  const Result<Reference> reference = parse_reference(text);
  if (!reference) return;
  CHECK(!local_name(*reference).empty());
  if (reference->kind == Reference::Kind::kPath) return;  // its text is the path with HOME in it
  const Result<Reference> again = parse_reference(reference->text);
  CHECK(again && again->text == reference->text, reference->text);
  for (const std::string& package : reference->pip.packages) CHECK(!package.starts_with('-'));
}

void try_catalogue(std::string_view text) {
  const Result<std::vector<CatalogueEntry>> entries = parse_catalogue(text, "fuzz");
  if (!entries) return;
  for (const CatalogueEntry& entry : *entries) {
    CHECK(parse_reference(entry.source) && !entry.name.empty());
    CHECK(entry.sha256.empty() || is_sha256(entry.sha256));
  }
}

void try_manifest(std::string_view text) {
  const Result<Manifest> manifest = parse_manifest(text, "fuzz");
  if (!manifest) return;
  CHECK(!manifest->files.empty() && !manifest->name.empty());
  for (const Manifest::File& file : manifest->files) {
    CHECK(is_sha256(file.sha256) && file.bytes.count >= 0 &&
          file.name.find('/') == std::string::npos);
  }
}

void try_listing(std::string_view text) {
  const Result<HubListing> listing = parse_hub_listing(text, "fuzz");
  if (!listing) return;
  for (const RemoteFile& file : listing->files) {
    CHECK(!file.path.starts_with('/') && ("/" + file.path + "/").find("/../") == std::string::npos);
    CHECK(file.sha256.empty() || is_sha256(file.sha256));
  }
  for (const Variant& variant : find_variants(listing->files)) CHECK(!variant.files.empty());
  static_cast<void>(choose_variant(find_variants(listing->files), "", "", "fuzz"));
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'r':
      ration::try_reference(text);
      break;
    case 'c':
      ration::try_catalogue(text);
      break;
    case 'm':
      ration::try_manifest(text);
      break;
    case 'h':
      ration::try_listing(text);
      break;
    case 'p':
      CHECK(!ration::explain_pip(text, "name==1.0", 1).error.message.empty());
      break;
    default:
      break;
  }
  return 0;
}
