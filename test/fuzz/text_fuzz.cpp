// Any bytes as text: the UTF-8 helpers agree with each other, and a JSON string of it reads back.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/text.h"
#include "base/unit.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);

  const std::string valid = ration::to_valid_utf8(text);
  CHECK(ration::is_valid_utf8(valid));
  CHECK(ration::is_valid_utf8(text) == (valid == text));
  const size_t tail = ration::incomplete_utf8_tail(text);
  CHECK(tail <= 3 && tail <= size);

  std::string quoted;
  ration::append_json_string(quoted, text);
  const ration::Result<ration::Json> read = ration::parse_json(quoted);
  CHECK(static_cast<bool>(read), quoted);
  CHECK(read->get<std::string>() == valid, quoted);

  const ration::Result<ration::Bytes> bytes = ration::parse_bytes(text);
  CHECK(!bytes || bytes->count >= 0);
  const ration::Result<ration::Millis> millis = ration::parse_millis(text);
  CHECK(!millis || millis->count >= 0);
  return 0;
}
