// test/model/template/reference.h - what reference.py told jinja2.
#pragma once

#include <cstdint>

namespace ration {

constexpr int64_t kReferenceNow = 1753876800;  // Unix seconds

}  // namespace ration
