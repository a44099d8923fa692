// app/tokens.h - token ids from files, shared by the commands that read them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {

// All numbers in a file ("-": standard input), whatever stands between them: "1 2 3", "[1, 2]" or
// {"ids": [1, 2]}. kInvalid for one outside the vocabulary.
Result<std::vector<Token>> read_ids(const std::string& path, int32_t vocabulary);

}  // namespace ration
