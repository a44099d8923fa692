#include <fmt/core.h>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "base/file.h"

int main(int argc, char** argv) {
  ration::Result<ration::Parsed> parsed = ration::parse_arguments(argc, argv);
  if (!parsed) {
    ration::note("ration: error: " + parsed.error().message);
    return ration::kUsage;
  }
  if (parsed->exit) return *parsed->exit;
  ration::install_truncation_guard(ration::kBadFile);
  ration::catch_interrupts();
  ration::Result<int> code = parsed->command->run(parsed->settings);
  if (code) return *code;
  ration::note("ration: error: " + code.error().message);
  return ration::exit_code_of(code.error().code);
}
