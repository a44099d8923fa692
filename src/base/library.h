// base/library.h - a shared library that is opened when it is first needed, so that commands which
// do without it pay nothing for it.
//
//   SharedLibrary curl({"libcurl.so.4", "libcurl-gnutls.so.4"});
//   curl.load(easy_init, "curl_easy_init");
//   if (!curl.problem().empty()) ...
#pragma once

#include <initializer_list>
#include <string>

namespace ration {

// The library stays open until the program ends. single-thread.
class SharedLibrary {
 public:
  // The first of these that is there.
  explicit SharedLibrary(std::initializer_list<const char*> names);

  // `function` is null when the library or the function is missing.
  template <class Function>
  void load(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(find(name));
  }
  // "" when the library and every function asked for so far are there.
  const std::string& problem() const { return problem_; }
  bool is_open() const { return handle_ != nullptr; }

 private:
  void* find(const char* name);

  void* handle_ = nullptr;
  std::string problem_;
};

}  // namespace ration
