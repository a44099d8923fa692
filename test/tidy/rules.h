// test/tidy/rules.h - what the tidy test holds the tree to. Each rule reads the tree and returns
// what it found; an empty list is a clean tree. To add one: a function here, a row in kRules,
// made-up trees that it must and must not flag in rules_test.cpp.
#pragma once

#include <array>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "test/tidy/source.h"

namespace ration::tidy {

// Who may include whom, and only public headers from outside a room. include_rules.cpp
Findings check_include_direction(const Tree& tree);
Findings check_public_headers(const Tree& tree);
// An X.cpp starts with its own X.h, so every such header is compiled alone; headers have #pragma
// once.
Findings check_own_header_first(const Tree& tree);
// Every third-party header is known, and packages.txt lists exactly the packages that are included.
Findings check_packages(const Tree& tree);

// Lines <= 100 columns (code points), files <= 500 lines, names in snake_case. size_rules.cpp
Findings check_columns(const Tree& tree);
Findings check_file_lengths(const Tree& tree);
Findings check_file_names(const Tree& tree);
// Functions <= 70 lines.
Findings check_function_lengths(const Tree& tree);

// Calls and words that have no place here. banned_rules.cpp
Findings check_banned(const Tree& tree);
// Paths of a build machine, and hosts that belong into nobody's source.
Findings check_places(const Tree& tree);

// Every .cpp stands in the CMakeLists.txt above it. house_rules.cpp
Findings check_dead_files(const Tree& tree);
// Folders no deeper than a room and one family.
Findings check_depth(const Tree& tree);
// METHODS.md: each row complete, each file it names there.
Findings check_methods(const Tree& tree);
// Every .cpp of a policy folder has its head (Source, Computes, Departs, Costs, Proved), its test,
// its row in METHODS.md and its row in the folder's table.
Findings check_policies(const Tree& tree, const std::vector<std::string>& folders);

struct Rule {
  std::string_view name;
  Findings (*check)(const Tree& tree);

  friend void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }
};

// Folders of policies, one idea a file (the folder's own X/X.cpp is its table). None so far.
inline const std::vector<std::string> kPolicyFolders{};
inline Findings check_house_policies(const Tree& tree) {
  return check_policies(tree, kPolicyFolders);
}

inline constexpr std::array kRules{
    Rule{"include_direction", check_include_direction},
    Rule{"public_headers", check_public_headers},
    Rule{"own_header_first", check_own_header_first},
    Rule{"packages", check_packages},
    Rule{"columns", check_columns},
    Rule{"file_lengths", check_file_lengths},
    Rule{"file_names", check_file_names},
    Rule{"function_lengths", check_function_lengths},
    Rule{"banned", check_banned},
    Rule{"places", check_places},
    Rule{"dead_files", check_dead_files},
    Rule{"depth", check_depth},
    Rule{"methods", check_methods},
    Rule{"policies", check_house_policies},
};

}  // namespace ration::tidy
