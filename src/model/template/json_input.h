// model/template/json_input.h - a request's JSON as values, all of it written by the user.
#pragma once

#include <string_view>

#include "base/result.h"
#include "model/template/value.h"

namespace ration::jinja {

// `what` names the text in errors ("messages"). kInvalid when it is not JSON; failures of the
// machine (over budget) stay in the machine.
Result<Value> read_json(Machine& machine, std::string_view what, std::string_view text);

}  // namespace ration::jinja
