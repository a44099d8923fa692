// app/session.h - a model opened inside a budget: what run, chat, perplexity and bench share.
#pragma once

#include <memory>
#include <string>

#include "app/host.h"
#include "app/open_model.h"

namespace ration {

// A host with one model, which gets all of its budget.
struct Session : Host, OpenModel {
  static Result<std::unique_ptr<Session>> open(const Settings& settings, const SessionNeeds& needs);

  std::string summary() const { return ration::summary(*this, *this); }

  using Host::Host;
};

// The lines of a prompt file, or standard input for "-". At most 64 MiB.
Result<std::string> read_input(const std::string& path);

}  // namespace ration
