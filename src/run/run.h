// run/run.h - the engine: a model under a budget, and the answers it writes.
//
//   Engine     one model at work, step by step (engine.h)
//   Runner     requests that share the steps (runner.h)
//   Sampler    from logits to a token (sampler.h)
//   Embedder   texts as vectors (embedder.h)
//
// Everything below serve, app and bench goes through this header.
#pragma once

#include "run/embedder.h"         // IWYU pragma: export
#include "run/engine.h"           // IWYU pragma: export
#include "run/prefix_store.h"     // IWYU pragma: export
#include "run/runner.h"           // IWYU pragma: export
#include "run/sampler.h"          // IWYU pragma: export
#include "run/speculate_model.h"  // IWYU pragma: export
