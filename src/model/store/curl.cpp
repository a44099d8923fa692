#include "model/store/curl.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <type_traits>

namespace ration {

const CurlLibrary& CurlLibrary::get() {
  static const CurlLibrary library;
  return library;
}

CurlLibrary::CurlLibrary() {
  void* library = ::dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!library) library = ::dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    problem =
        "libcurl is not installed, but downloads need it: install it with 'apt-get install "
        "libcurl4'";
    return;
  }
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(::dlsym(library, name));
    if (!function) problem = fmt::format("libcurl is too old: it has no {}", name);
  };
  load(global_init, "curl_global_init");
  load(easy_init, "curl_easy_init");
  load(easy_setopt, "curl_easy_setopt");
  load(easy_getinfo, "curl_easy_getinfo");
  load(easy_strerror, "curl_easy_strerror");
  load(easy_cleanup, "curl_easy_cleanup");
  load(slist_append, "curl_slist_append");
  load(slist_free_all, "curl_slist_free_all");
  load(multi_init, "curl_multi_init");
  load(multi_add_handle, "curl_multi_add_handle");
  load(multi_remove_handle, "curl_multi_remove_handle");
  load(multi_perform, "curl_multi_perform");
  load(multi_poll, "curl_multi_poll");
  load(multi_info_read, "curl_multi_info_read");
  load(multi_cleanup, "curl_multi_cleanup");
  if (problem.empty() && global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    problem = "libcurl does not start";
}

}  // namespace ration
