#include "model/store/curl.h"

#include "base/library.h"

namespace ration {

const CurlLibrary& CurlLibrary::get() {
  static const CurlLibrary library;
  return library;
}

CurlLibrary::CurlLibrary() {
  SharedLibrary library({"libcurl.so.4", "libcurl-gnutls.so.4"});
  library.load(global_init, "curl_global_init");
  library.load(easy_init, "curl_easy_init");
  library.load(easy_setopt, "curl_easy_setopt");
  library.load(easy_getinfo, "curl_easy_getinfo");
  library.load(easy_strerror, "curl_easy_strerror");
  library.load(easy_cleanup, "curl_easy_cleanup");
  library.load(slist_append, "curl_slist_append");
  library.load(slist_free_all, "curl_slist_free_all");
  library.load(multi_init, "curl_multi_init");
  library.load(multi_add_handle, "curl_multi_add_handle");
  library.load(multi_remove_handle, "curl_multi_remove_handle");
  library.load(multi_perform, "curl_multi_perform");
  library.load(multi_poll, "curl_multi_poll");
  library.load(multi_info_read, "curl_multi_info_read");
  library.load(multi_cleanup, "curl_multi_cleanup");
  if (!library.is_open()) {
    problem =
        "libcurl is not installed, but downloads need it: install it with 'apt-get install "
        "libcurl4'";
  } else if (!library.problem().empty()) {
    problem = "libcurl is too old: " + library.problem();
  }
  if (problem.empty() && global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    problem = "libcurl does not start";
}

}  // namespace ration
