// model/deep.h - which matrices bear to be rounded to int8 with one scale a 256 columns.
//
// Source: that a few columns carry outliers which 8 bits lose is from Dettmers et al. 2022,
// "LLM.int8()", sec. 3; the two measures are ours.
// Computes: a sample of rows is rounded as deep products round them. `rows` is the error of a
// product with activations of one magnitude, relative to the product; `column` that of a product
// with one activation that outweighs all others, where that hurts most. Outliers of activations
// need no check: products set them apart (tensor/kernel/deep_code.h).
// Costs: 16 rows a matrix, about 15 ms for a model of 1.5 billion weights.
// Proved: test/model/deep_test.cpp; by test/gate/model_gate_test.cpp on real models.
#pragma once

#include "model/network.h"

namespace ration {

struct DeepError {
  double rows = 0;
  double column = 0;
};

// REQUIRES: has_panels(matrix.dtype)
DeepError deep_error(const Matrix& matrix);

// Sets Matrix::deep where the errors are small; of experts, those of a few speak for all. Left
// exact are the output, as few of its rows' products are wanted and they decide, and routers, which
// choose. Returns how many of the other quantised matrices stay exact.
int mark_deep(Network& network);

}  // namespace ration
