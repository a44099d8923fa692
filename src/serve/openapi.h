// serve/openapi.h - the description of the API for programs (OpenAPI 3.1), built in so that the
// binary stands alone. Private to serve/.
#pragma once

#include <string_view>

namespace ration {

std::string_view openapi_text();

}  // namespace ration
