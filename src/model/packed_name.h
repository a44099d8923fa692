// model/packed_name.h - how a file of packed weights (model/packed.h) is told from others.
#pragma once

#include <array>
#include <string_view>

namespace ration {

inline constexpr std::string_view kPackedEnding = ".panels";
// The first bytes.
inline constexpr std::array<char, 8> kPackedMagic{'R', 'A', 'T', 'N', 'P', 'A', 'C', 'K'};

}  // namespace ration
