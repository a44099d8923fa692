#include "base/library.h"

#include <dlfcn.h>
#include <fmt/core.h>

namespace ration {

SharedLibrary::SharedLibrary(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle_) return;
  }
  problem_ = fmt::format("{} is not installed", *names.begin());
}

void* SharedLibrary::find(const char* name) {
  void* found = handle_ ? ::dlsym(handle_, name) : nullptr;
  if (!found && problem_.empty()) problem_ = fmt::format("it has no function {}", name);
  return found;
}

}  // namespace ration
