// serve/face/vectors.h - what the faces that make vectors of texts share. Private to serve/.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serve/answer.h"
#include "serve/fields.h"

namespace ration {

// Texts of one request, as OpenAI has it.
inline constexpr int64_t kTextsMax = 2048;

Problem read_dimensions(std::string_view param, const Json& value, Reading& reading);

// The first `dimensions` numbers, made of length 1 again; all of them when that is not stated.
std::vector<float> cut_vector(std::span<const float> vector,
                              const std::optional<int64_t>& dimensions);

// [0.25,-1,...]: the shortest decimals that are read as the same numbers.
void append_vector(std::string& out, std::span<const float> vector);

// Writes one whole answer; vectors do not come in streams.
class VectorsWriter : public AnswerWriter {
 public:
  explicit VectorsWriter(AnswerHead head) : head_(std::move(head)) {}

  std::string whole(std::span<const AnswerChoice> choices, const Bill& bill) override {
    return choices.empty() ? write({}, bill) : write(choices.front().vectors, bill);
  }
  void piece(std::string&, int64_t, std::span<const AnswerPart>,
             std::span<const TokenReport>) override {}
  void end_choice(std::string&, int64_t, Ending, std::string_view) override {}
  void end(std::string&, const Bill&) override {}
  void error(std::string&, const ApiError&) override {}

 protected:
  // vectors: one a text, each of length 1.
  virtual std::string write(std::span<const std::vector<float>> vectors, const Bill& bill) = 0;

  const AnswerHead head_;
};

}  // namespace ration
