// Any bytes as JSON: refused, or read to a value that survives being written and read again.
#include <cstdint>
#include <string_view>

#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const ration::Result<ration::Json> value = ration::parse_json(text);
  if (!value) {
    CHECK(value.error().code == ration::Code::kInvalid);
    return 0;
  }
  const ration::Result<ration::Json> again = ration::parse_json(ration::to_text(*value));
  CHECK(again && *again == *value, ration::to_text(*value));
  return 0;
}
