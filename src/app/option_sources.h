// app/option_sources.h - where the value of an option comes from when the command line has none.
//
// Each goes before the ones below it:
//   1. the command line
//   2. the environment: RATION_PORT for --port, RATION_SEQUENCES_MAX for --sequences-max; a flag is
//      on for 1, true, yes and on, and off for 0, false, no, off and nothing
//   3. the configuration's table of the command, such as [serve]
//   4. the configuration's [defaults]
//   5. the program's own default
// "model" in a table and RATION_MODEL stand for the first argument of commands that take a model.
#pragma once

#include <string>
#include <string_view>

#include "app/commands.h"
#include "app/config.h"

namespace ration {

// "--sequences-max" of "-s,--sequences-max" without its dashes.
std::string_view long_name(const Option& option);

// Writes what the sources 2 to 4 say into settings whose command line is yet to be applied. Errors
// name the variable, or the file and the line. An option that other commands take is passed over in
// [defaults] and in the environment.
Status apply_sources(const Config& config, const Command& command, Settings& settings);

// Of the configuration file, as JSON Schema (draft 2020-12).
std::string config_schema();

}  // namespace ration
