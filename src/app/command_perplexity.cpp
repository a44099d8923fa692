// ration perplexity: the probability a model gives to each token of a text.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/session.h"
#include "app/tokens.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr int64_t kWindowDefault = 512;
// Positions whose logits are held at once.
constexpr int64_t kRows = 16;

struct Position {
  Token token = -1;  // the one that really came
  double logprob = 0;
  std::vector<TokenLogprob> top;
};

// log(sum(exp(logits))), summed in double.
double log_sum_exp(std::span<const float> logits) {
  const double most = *std::ranges::max_element(logits);
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum);
}

Position score(std::span<const float> logits, Token next, int64_t top) {
  const double total = log_sum_exp(logits);
  const auto logprob = [&](Token token) {
    return static_cast<double>(logits[static_cast<size_t>(token)]) - total;
  };
  Position position{.token = next, .logprob = logprob(next), .top = {}};
  if (top > 0) {
    std::vector<Token> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto count = std::min(static_cast<size_t>(top), order.size());
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(count);
    std::partial_sort(order.begin(), end, order.end(), [&](Token a, Token b) {
      const float x = logits[static_cast<size_t>(a)];
      const float y = logits[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    });
    for (size_t i = 0; i < count; ++i) {
      position.top.push_back({order[i], static_cast<float>(logprob(order[i]))});
    }
  }
  return position;
}

// Scores tokens[1..] of one window, each given all before it in the window.
Status score_window(Session& session, std::span<const Token> tokens, int64_t top,
                    std::vector<Position>& positions) {
  const std::unique_ptr<Sequence> sequence = session.engine->open();
  const int64_t last = static_cast<int64_t>(tokens.size()) - 1;
  for (int64_t begin = 0; begin < last; begin += kRows) {
    if (interrupted()) return Error{Code::kCancelled, "interrupted"};
    const int64_t count = std::min(kRows, last - begin);
    const StepItem item{
        .sequence = sequence.get(),
        .tokens = tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(count)),
        .wants_all_logits = true};
    if (Status stepped = session.engine->step({&item, 1}); !stepped) return stepped;
    const size_t first = positions.size();
    positions.resize(first + static_cast<size_t>(count));
    session.pool.run([&](int worker) {
      const Share share = share_of(count, worker, session.pool.threads());
      for (int64_t i = share.begin; i < share.end; ++i) {
        positions[first + static_cast<size_t>(i)] =
            score(session.engine->logits(i), tokens[static_cast<size_t>(begin + i + 1)], top);
      }
    });
  }
  return {};
}

std::string to_json(const Session& session, std::span<const Position> positions, double mean,
                    int64_t window) {
  std::string out = fmt::format(
      "{{\"model\":\"{}\",\"isa\":\"{}\",\"context\":{},\"positions_scored\":{},"
      "\"nll_mean\":{:.9g},\"perplexity\":{:.9g},\"positions\":[\n",
      session.name, session.kernels->isa, window, positions.size(), mean, std::exp(mean));
  for (size_t i = 0; i < positions.size(); ++i) {
    const Position& position = positions[i];
    out += fmt::format("{{\"token\":{},\"logprob\":{:.7g}", position.token, position.logprob);
    if (!position.top.empty()) {
      out += ",\"top\":[";
      for (size_t k = 0; k < position.top.size(); ++k) {
        out += fmt::format("{}{{\"id\":{},\"logprob\":{:.7g}}}", k ? "," : "",
                           position.top[k].token, position.top[k].logprob);
      }
      out += ']';
    }
    out += i + 1 < positions.size() ? "},\n" : "}\n";
  }
  return out + "]}\n";
}

}  // namespace

Result<int> run_perplexity(const Settings& settings) {
  if (settings.text_file.has_value() == settings.tokens_file.has_value()) {
    return Error{Code::kInvalid, "wanted one of --text FILE and --tokens FILE"};
  }
  Result<std::unique_ptr<Session>> opened =
      Session::open(settings, {.logit_rows = kRows, .context_max = kWindowDefault});
  if (!opened) return opened.error();
  Session& session = **opened;
  const Tokenizer& tokenizer = session.model->tokenizer();
  std::vector<Token> tokens;
  if (settings.tokens_file) {
    Result<std::vector<Token>> ids =
        read_ids(*settings.tokens_file, static_cast<int32_t>(session.model->network().vocabulary));
    if (!ids) return ids.error();
    tokens = std::move(*ids);
  } else {
    Result<std::string> text = read_input(*settings.text_file);
    if (!text) return text.error();
    tokens = tokenizer.encode(*text, {.add_special = false});
  }
  // Windows of equal length; each begins with BOS where the model was trained so.
  const bool add_bos = settings.text_file && tokenizer.adds_bos();
  const int64_t window = session.engine->options().context;
  const auto step = static_cast<size_t>(window - (add_bos ? 1 : 0));
  std::vector<Position> positions;
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    std::vector<Token> part;
    if (add_bos) part.push_back(tokenizer.bos());
    part.insert(
        part.end(), tokens.begin() + static_cast<std::ptrdiff_t>(begin),
        tokens.begin() + static_cast<std::ptrdiff_t>(std::min(begin + step, tokens.size())));
    if (part.size() < 2) break;
    if (Status scored = score_window(session, part, settings.top, positions); !scored) {
      return scored.error();
    }
    if (!settings.quiet) {
      note(fmt::format("ration: {} of {} tokens", std::min(begin + step, tokens.size()),
                       tokens.size()));
    }
  }
  if (positions.empty()) return Error{Code::kInvalid, "the text has fewer than two tokens"};
  double sum = 0;
  for (const Position& position : positions) sum -= position.logprob;
  const double mean = sum / static_cast<double>(positions.size());
  if (settings.json) return print(to_json(session, positions, mean, window)) ? kDone : kFailed;
  return print(fmt::format("perplexity {:.4f} over {} tokens (windows of {}, {:.6f} nat a token)\n",
                           std::exp(mean), positions.size(), window, mean))
             ? kDone
             : kFailed;
}

}  // namespace ration
