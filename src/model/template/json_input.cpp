#include "model/template/json_input.h"

#include "base/json.h"

namespace ration::jinja {
namespace {

Value convert(Machine& machine, const Json& json) {
  if (!machine.step()) return {};
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::of(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::of(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      return Value::of_wide(json.get<uint64_t>());
    case Json::value_t::number_float:
      return Value::of(json.get<double>());
    case Json::value_t::string:
      return make_string(machine, json.get_ref<const std::string&>(), Origin::kUser);
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(convert(machine, item));
      return make_list(machine, std::move(items), Origin::kUser);
    }
    case Json::value_t::object: {
      DictMaker dict(machine, Origin::kUser);
      for (const auto& [key, value] : json.items()) {
        dict.put(make_string(machine, key, Origin::kUser), convert(machine, value));
      }
      return dict.take();
    }
    default:
      return Value::none();
  }
}

}  // namespace

Result<Value> read_json(Machine& machine, std::string_view what, std::string_view text) {
  const Result<Json> json = parse_json(text);
  if (!json) return Error{json.error().code, std::string(what) + ": " + json.error().message};
  return convert(machine, *json);
}

}  // namespace ration::jinja
