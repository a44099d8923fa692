#include "base/budget.h"

#include <fmt/core.h>

#include <algorithm>

namespace ration {

std::string_view tag_name(Tag tag) {
  constexpr std::array<std::string_view, kTagCount> kNames{"weights",     "kv",       "prefix",
                                                           "activations", "scratch",  "adapter",
                                                           "optimizer",   "gradient", "io"};
  return kNames[static_cast<size_t>(tag)];
}

Charge& Charge::operator=(Charge&& other) noexcept {
  if (this != &other) {
    release();
    budget_ = std::exchange(other.budget_, nullptr);
    tag_ = other.tag_;
    bytes_ = std::exchange(other.bytes_, Bytes{0});
  }
  return *this;
}

void Charge::settle(Bytes actual) {
  CHECK(actual >= Bytes{0} && actual <= bytes_,
        fmt::format("settling {} of {} bytes", actual.count, bytes_.count));
  if (budget_) budget_->give_back(tag_, bytes_ - actual);
  bytes_ = actual;
}

Status Charge::grow(Bytes extra) {
  CHECK(budget_ != nullptr);
  if (Status taken = budget_->take(tag_, extra); !taken) return taken;
  bytes_ += extra;
  return {};
}

void Charge::retag(Tag tag) {
  CHECK(budget_ != nullptr);
  budget_->move(tag_, tag, bytes_);
  tag_ = tag;
}

void Charge::release() {
  if (budget_) budget_->give_back(tag_, bytes_);
  budget_ = nullptr;
  bytes_ = Bytes{0};
}

Budget::Budget(std::string name, Marks marks) : Budget(std::move(name), marks, nullptr) {}

Budget::Budget(std::string name, Marks marks, Budget* parent)
    : name_(std::move(name)),
      marks_(marks),
      parent_(parent),
      lock_(parent ? parent->lock_ : std::make_shared<std::mutex>()) {
  CHECK(marks.hard >= Bytes{0});
}

Budget::~Budget() {
  const std::lock_guard guard(*lock_);
  CHECK(report_.used_total == Bytes{0}, fmt::format("budget '{}' destroyed with {} bytes charged",
                                                    name_, report_.used_total.count));
  CHECK(children_ == 0, fmt::format("budget '{}' destroyed before its grants", name_));
  if (parent_) --parent_->children_;
}

std::unique_ptr<Budget> Budget::grant(std::string name, Marks marks) {
  const std::lock_guard guard(*lock_);
  ++children_;
  return std::unique_ptr<Budget>(new Budget(std::move(name), marks, this));
}

Result<Charge> Budget::reserve(Tag tag, Bytes bytes) {
  if (Status taken = take(tag, bytes); !taken) return taken.error();
  return Charge(this, tag, bytes);
}

Status Budget::take(Tag tag, Bytes bytes) {
  CHECK(bytes >= Bytes{0});
  const std::lock_guard guard(*lock_);
  for (const Budget* node = this; node; node = node->parent_) {
    const Bytes room = node->marks_.hard - node->report_.used_total;
    const bool injected = node->refuse_ && node->refuse_(tag, bytes);
    if (bytes > room || injected) {
      const Bytes available = injected ? Bytes{0} : std::max(Bytes{0}, available_locked());
      return Error{
          Code::kOverBudget,
          fmt::format("{} needs {}, budget '{}' of {} has {} left", tag_name(tag), to_text(bytes),
                      node->name_, to_text(node->marks_.hard), to_text(available)),
          Shortfall{.wanted = bytes.count, .available = available.count}};
    }
  }
  const auto index = static_cast<size_t>(tag);
  for (Budget* node = this; node; node = node->parent_) {
    BudgetReport& report = node->report_;
    report.used[index] += bytes;
    report.used_total += bytes;
    report.peak[index] = std::max(report.peak[index], report.used[index]);
    report.peak_total = std::max(report.peak_total, report.used_total);
  }
  return {};
}

void Budget::give_back(Tag tag, Bytes bytes) {
  const std::lock_guard guard(*lock_);
  for (Budget* node = this; node; node = node->parent_) {
    BudgetReport& report = node->report_;
    report.used[static_cast<size_t>(tag)] -= bytes;
    report.used_total -= bytes;
    CHECK(report.used[static_cast<size_t>(tag)] >= Bytes{0});
  }
}

void Budget::move(Tag from, Tag to, Bytes bytes) {
  const std::lock_guard guard(*lock_);
  for (Budget* node = this; node; node = node->parent_) {
    BudgetReport& report = node->report_;
    report.used[static_cast<size_t>(from)] -= bytes;
    Bytes& used = report.used[static_cast<size_t>(to)];
    used += bytes;
    Bytes& peak = report.peak[static_cast<size_t>(to)];
    peak = std::max(peak, used);
  }
}

Bytes Budget::available_locked() const {
  Bytes least = marks_.hard - report_.used_total;
  for (const Budget* node = parent_; node; node = node->parent_) {
    least = std::min(least, node->marks_.hard - node->report_.used_total);
  }
  return least;
}

Bytes Budget::available() const {
  const std::lock_guard guard(*lock_);
  return available_locked();
}

BudgetReport Budget::report() const {
  const std::lock_guard guard(*lock_);
  return report_;
}

bool Budget::above_soft() const {
  const std::lock_guard guard(*lock_);
  for (const Budget* node = this; node; node = node->parent_) {
    if (node->marks_.soft >= Bytes{0} && node->report_.used_total > node->marks_.soft) return true;
  }
  return false;
}

void Budget::reset_peaks() {
  const std::lock_guard guard(*lock_);
  report_.peak = report_.used;
  report_.peak_total = report_.used_total;
}

void Budget::inject_failures(std::function<bool(Tag, Bytes)> refuse) {
  const std::lock_guard guard(*lock_);
  refuse_ = std::move(refuse);
}

}  // namespace ration
