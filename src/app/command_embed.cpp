// ration embed: texts in, vectors out, a line of JSON each.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/session.h"
#include "base/text.h"

namespace ration {
namespace {

// Lines that are printed together.
constexpr size_t kTextsTogether = 256;

// The words, or the lines of a file: one text each.
Result<std::vector<std::string>> read_texts(const Settings& settings) {
  if (!settings.words.empty() && settings.prompt_file) {
    return Error{Code::kInvalid, "found texts and --file, wanted one of them"};
  }
  if (!settings.words.empty()) return settings.words;
  const Result<std::string> content = read_input(settings.prompt_file.value_or("-"));
  if (!content) return content.error();
  std::vector<std::string> texts;
  std::string_view rest = *content;
  while (!rest.empty()) texts.emplace_back(take_line(rest));
  return texts;
}

// Texts through one embedder, with a bill for them all.
class EmbedJob {
 public:
  EmbedJob(Session& session, const Settings& settings)
      : session_(session), settings_(settings), embedder_(*session.engine) {
    session_.budget.reset_peaks();
    session_.attributor->begin(kJob);
    start_ns_ = session_.clock.now_ns();
  }

  Result<int> run(std::span<const std::string> texts) {
    for (size_t first = 0; first < texts.size(); first += kTextsTogether) {
      const size_t count = std::min(kTextsTogether, texts.size() - first);
      Result<std::string> lines = embed(first, texts.subspan(first, count));
      if (!lines) return lines.error();
      if (!print(*lines)) return kFailed;
      if (Status same = session_.model->file().unchanged(); !same) return same.error();
    }
    return kDone;
  }

  Bill bill() {
    Bill bill;
    bill.prompt_tokens = tokens_;
    bill.load = session_.load;
    bill.prefill = session_.clock.since(start_ns_);
    bill.energy = session_.attributor->end(kJob);
    bill.stop_cause = "end";
    set_peaks(bill, session_.budget.report());
    bill.dollars = price(bill, session_.config.tariff);
    return bill;
  }

 private:
  static constexpr uint64_t kJob = 1;

  // Texts number `first` and on, as lines.
  Result<std::string> embed(size_t first, std::span<const std::string> texts) {
    std::vector<int64_t> sizes;
    for (size_t i = 0; i < texts.size(); ++i) {
      std::vector<Token> tokens = session_.model->encode_for_embedding(texts[i]);
      if (settings_.truncate) {
        tokens =
            truncate_text(std::move(tokens), embedder_.tokens_max(), session_.model->tokenizer());
      }
      sizes.push_back(std::ssize(tokens));
      if (Status added = embedder_.add(i, std::move(tokens)); !added) {
        const bool long_text = sizes.back() > embedder_.tokens_max();
        return Error{added.error().code,
                     fmt::format("text {}: {}{}", first + i + 1, added.error().message,
                                 long_text ? "; --truncate reads its beginning" : "")};
      }
    }
    std::unordered_map<uint64_t, std::vector<float>> vectors;
    std::vector<Embedder::Done> done;
    while (embedder_.waiting() > 0) {
      if (interrupted()) return Error{Code::kCancelled, "interrupted"};
      if (Status stepped = step(done); !stepped) return stepped.error();
    }
    for (Embedder::Done& one : done) vectors[one.id] = *std::move(one.vector);
    std::string lines;
    for (size_t i = 0; i < texts.size(); ++i) {
      tokens_ += sizes[i];
      lines += fmt::format("{{\"index\":{},\"tokens\":{},\"embedding\":[{}]}}\n", first + i,
                           sizes[i], fmt::join(vectors[i], ","));
    }
    return lines;
  }

  Status step(std::vector<Embedder::Done>& done) {
    const double cpu_before = process_cpu_seconds();
    const int64_t tokens_before = session_.engine->work().prompt_tokens;
    if (embedder_.step(done) == Embedder::Outcome::kFull) {
      embedder_.fail_first(done);
      return done.back().vector.error();
    }
    const RequestWork work{.request = kJob,
                           .tokens = session_.engine->work().prompt_tokens - tokens_before};
    session_.attributor->step({.cpu_seconds = process_cpu_seconds() - cpu_before,
                               .shared_bytes = session_.engine->last_weight_bytes(),
                               .requests = {&work, 1}});
    return {};
  }

  Session& session_;
  const Settings& settings_;
  Embedder embedder_;
  int64_t tokens_ = 0;
  int64_t start_ns_ = 0;
};

}  // namespace

Result<int> run_embed(const Settings& settings) {
  const Result<std::vector<std::string>> texts = read_texts(settings);
  if (!texts) return texts.error();
  if (texts->empty()) return Error{Code::kInvalid, "there is no text"};
  Result<std::unique_ptr<Session>> session = Session::open(settings, {.encoders = true});
  if (!session) return session.error();
  if (!settings.quiet) note("ration: " + (*session)->summary());
  EmbedJob job(**session, settings);
  Result<int> code = job.run(*texts);
  if (code && !settings.quiet) note("ration: " + to_text(job.bill()));
  return code;
}

}  // namespace ration
