// serve/http_text.h - the small texts of HTTP. Private to serve/.
#pragma once

#include <string>
#include <string_view>

namespace ration {

// 404 -> "Not Found"; "Unknown" for a status that we never send.
std::string_view reason_of(int status);

// The present moment as the Date header has it.
std::string http_date();

// The path of a request's target: without its query, %XX decoded; a broken escape stays as it is.
std::string decoded_path(std::string_view target);

}  // namespace ration
