// Every rule on made-up trees: what it must flag, with the line, and what it must leave alone.
#include "test/tidy/rules.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <utility>

namespace ration::tidy {
namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

Tree tree_of(const Files& files) {
  std::vector<File> made;
  for (const auto& [path, text] : files) made.push_back(make_file(path, text));
  return Tree::of(std::move(made));
}

// "path:line" of each finding, in the rule's own order.
std::vector<std::string> places(const Findings& findings) {
  std::vector<std::string> places;
  for (const Finding& finding : findings) {
    places.push_back(fmt::format("{}:{}", finding.path, finding.line));
  }
  return places;
}

std::vector<std::string> flagged(Findings (*check)(const Tree&), const Files& files) {
  return places(check(tree_of(files)));
}

// Lines of one made-up file of src/plan that the banned rule flags.
std::vector<int> banned_lines(const std::string& text, const std::string& path = "src/plan/x.cpp") {
  std::vector<int> lines;
  for (const Finding& finding : check_banned(tree_of({{path, text}})))
    lines.push_back(finding.line);
  return lines;
}

using Places = std::vector<std::string>;
using Lines = std::vector<int>;

TEST(Source, blanks_comments_and_literals_and_keeps_lines) {
  const File file = make_file("src/base/x.cpp",
                              "int a = 1'000'000; // new\n"
                              "auto b = \"new \\\" new\"; /* new\nnew */ char c = '\"';\n"
                              "auto d = R\"x(new \" )\" new)x\"; int e;\n");
  EXPECT_EQ(file.code.size(), file.text.size());
  EXPECT_TRUE(find_word(file.code, "new").empty()) << file.code;
  EXPECT_EQ(find_word(file.code, "int").size(), 2u) << file.code;
  EXPECT_EQ(lines_of(file.code).size(), 4u);
}

TEST(Includes, go_downwards_only) {
  const Files rooms{{"src/base/a.h", ""}, {"src/run/run.h", ""}, {"src/learn/learn.h", ""}};
  const auto with = [&](std::string path, std::string text) {
    Files files = rooms;
    files.emplace_back(std::move(path), std::move(text));
    return flagged(check_include_direction, files);
  };
  EXPECT_EQ(with("src/run/x.cpp", "#include \"base/a.h\"\n#include <vector>\n"), Places{});
  EXPECT_EQ(with("src/base/x.cpp", "\n#include \"run/run.h\"\n"), Places{"src/base/x.cpp:2"});
  EXPECT_EQ(with("src/route/x.cpp", "#include \"run/run.h\"\n"), Places{"src/route/x.cpp:1"});
  EXPECT_EQ(with("src/operate/x.cpp", "#include \"run/run.h\"\n"), Places{"src/operate/x.cpp:1"});
  EXPECT_EQ(with("src/serve/x.cpp", "#include \"learn/learn.h\"\n"), Places{"src/serve/x.cpp:1"});
  EXPECT_EQ(with("src/app/x.cpp", "#include \"learn/learn.h\"\n"), Places{});
  EXPECT_EQ(with("src/app/x.cpp", "// #include \"nowhere/learn.h\"\n"), Places{});
}

TEST(Includes, name_a_room_and_a_file_that_exists) {
  EXPECT_EQ(flagged(check_include_direction, {{"src/base/x.cpp", "#include \"a.h\"\n"}}),
            Places{"src/base/x.cpp:1"});
  EXPECT_EQ(flagged(check_include_direction, {{"src/base/x.cpp", "#include \"base/gone.h\"\n"}}),
            Places{"src/base/x.cpp:1"});
  EXPECT_EQ(flagged(check_include_direction, {{"src/attic/x.cpp", "#include \"base/a.h\"\n"}}),
            Places{"src/attic/x.cpp:1"});
}

TEST(Includes, keep_torch_in_learn) {
  EXPECT_EQ(flagged(check_include_direction, {{"src/run/x.cpp", "#include <torch/torch.h>\n"}}),
            Places{"src/run/x.cpp:1"});
  EXPECT_EQ(flagged(check_include_direction, {{"src/learn/x.cpp", "#include <torch/torch.h>\n"}}),
            Places{});
}

TEST(Includes, of_private_headers_stay_in_their_room) {
  const auto check = [](const std::string& user, const std::string& header) {
    return flagged(check_public_headers, {{user, "#include \"" + header + "\"\n"}}).size();
  };
  EXPECT_EQ(check("src/serve/x.cpp", "run/run.h"), 0u);
  EXPECT_EQ(check("src/serve/x.cpp", "run/cache/cache.h"), 0u);
  EXPECT_EQ(check("src/serve/x.cpp", "run/batch.h"), 1u);
  EXPECT_EQ(check("src/serve/x.cpp", "run/cache/storage.h"), 1u);
  EXPECT_EQ(check("src/run/x.cpp", "run/batch.h"), 0u);
  EXPECT_EQ(check("src/run/x.cpp", "tensor/matrix.h"), 0u);
}

TEST(Includes, begin_with_the_own_header) {
  const Files wrong{{"src/base/a.h", "#pragma once\n"},
                    {"src/base/a.cpp", "#include <vector>\n#include \"base/a.h\"\n"}};
  EXPECT_EQ(flagged(check_own_header_first, wrong), Places{"src/base/a.cpp:1"});
  const Files right{{"src/base/a.h", "#pragma once\n"},
                    {"src/base/a.cpp", "#include \"base/a.h\"\n#include <vector>\n"},
                    {"src/base/main.cpp", "#include <vector>\n"}};
  EXPECT_EQ(flagged(check_own_header_first, right), Places{});
  EXPECT_EQ(flagged(check_own_header_first, {{"src/base/a.h", "int a;\n"}}),
            Places{"src/base/a.h:1"});
}

TEST(Packages, are_listed_where_they_are_included) {
  const std::string list = "# run x\nrun  libfmt-dev  text\ntest libgtest-dev tests\n";
  const auto with = [&](std::string path, std::string text) {
    return flagged(check_packages, {{"scripts/packages.txt", list},
                                    {"src/base/f.cpp", "#include <fmt/core.h>\n"},
                                    {"test/t.cpp", "#include <gtest/gtest.h>\n"},
                                    {std::move(path), std::move(text)}});
  };
  EXPECT_EQ(with("src/base/x.cpp", "#include <sys/stat.h>\n#include <vector>\n"), Places{});
  EXPECT_EQ(with("src/base/x.cpp", "#include <sqlite3.h>\n"), Places{"src/base/x.cpp:1"});
  // A test's library is not there when only run.sh has set up.
  EXPECT_EQ(with("src/base/x.cpp", "#include <gtest/gtest.h>\n"), Places{"src/base/x.cpp:1"});
  EXPECT_EQ(with("src/base/x.cpp", "#include <unheard/of.h>\n"), Places{"src/base/x.cpp:1"});
}

TEST(Packages, that_nothing_includes_are_not_listed) {
  EXPECT_EQ(flagged(check_packages, {{"scripts/packages.txt", "run libpcre2-dev regex\n"}}),
            Places{"scripts/packages.txt:0"});
}

TEST(Columns, count_code_points) {
  const std::string hundred(100, 'x');
  std::string umlauts;
  for (int i = 0; i < 100; ++i) umlauts += "ü";
  EXPECT_EQ(flagged(check_columns, {{"src/base/x.cpp", hundred + "\n" + umlauts + "\n"}}),
            Places{});
  EXPECT_EQ(flagged(check_columns, {{"run.sh", "\n" + hundred + "x\n"}}), Places{"run.sh:2"});
  EXPECT_EQ(flagged(check_columns, {{"README.md", hundred + hundred}}), Places{});
}

TEST(FileLengths, end_at_500_unless_generated) {
  std::string lines;
  for (int i = 0; i < 500; ++i) lines += "int a;\n";
  EXPECT_EQ(flagged(check_file_lengths, {{"src/base/x.h", lines}}), Places{});
  EXPECT_EQ(flagged(check_file_lengths, {{"src/base/x.h", lines + "\n"}}),
            Places{"src/base/x.h:0"});
  const std::string generated = "// Generated by scripts/make_x.py, do not edit.\n" + lines;
  EXPECT_EQ(flagged(check_file_lengths, {{"src/base/x.h", generated}, {"scripts/make_x.py", ""}}),
            Places{});
  EXPECT_EQ(flagged(check_file_lengths, {{"src/base/x.h", generated}}), Places{"src/base/x.h:0"});
}

TEST(FileNames, are_snake_case) {
  EXPECT_EQ(flagged(check_file_names, {{"src/base/fileName.cpp", ""}}),
            Places{"src/base/fileName.cpp:0"});
  EXPECT_EQ(flagged(check_file_names, {{"src/base/file_2.cpp", ""}, {"README.md", ""}}), Places{});
}

// A function of `lines` lines with the given first line.
std::string function_of(const std::string& head, int lines) {
  std::string text = head + "\n";
  for (int i = 2; i < lines; ++i) text += "  g({1}, [] { return 2; });\n";
  return text + "}\n";
}

TEST(FunctionLengths, end_at_70) {
  for (const char* head :
       {"void f() {", "TEST(Room, does_a_thing) {",
        "template <class T, class U = A<T>>\nT f(T t) {", "auto f(int a) -> std::vector<int> {",
        "Result<int> C::f(Options options = {}) const {", "C::C(int a) : a_{a}, b_{{1, 2}} {",
        "bool operator==(const C& a, const C& b) {", "extern \"C\" int f(int a) {",
        "static int f(struct stat* a) {"}) {
    const int head_lines = static_cast<int>(lines_of(head).size());
    const std::string text = "int before();\nnamespace x {\n";
    EXPECT_EQ(flagged(check_function_lengths,
                      {{"src/base/x.cpp", text + function_of(head, 71 - head_lines) + "}\n"}}),
              Places{})
        << head;
    EXPECT_EQ(flagged(check_function_lengths,
                      {{"src/base/x.cpp", text + function_of(head, 72 - head_lines) + "}\n"}}),
              Places{"src/base/x.cpp:3"})
        << head;
  }
}

TEST(FunctionLengths, are_found_inside_classes) {
  const std::string text =
      "class alignas(64) C final : public B<int(int)> {\n public:\n" + function_of("int f() {", 71);
  EXPECT_EQ(
      flagged(check_function_lengths, {{"src/base/x.h", text + " private:\n  int a_;\n};\n"}}),
      Places{"src/base/x.h:3"});
}

TEST(FunctionLengths, leave_tables_and_long_classes_alone) {
  std::string rows, members;
  for (int i = 0; i < 80; ++i) rows += "  Row{\"a\", make(1)},\n";
  for (int i = 0; i < 80; ++i) members += "  int f() { return 1; }\n";
  const std::string text = "constexpr std::array kRows{\n" + rows + "};\nconst Row kMore[] = {\n" +
                           rows + "};\nclass C {\n" + members + "};\nenum class E {\n" +
                           std::string(80, '\n') + "};\n#define BRACE {\\\n {\nint a;\n";
  EXPECT_EQ(flagged(check_function_lengths, {{"src/base/x.cpp", text}}), Places{});
}

TEST(FunctionLengths, say_when_braces_do_not_add_up) {
  const std::string text = "#ifdef A\nvoid f() {\n#else\nvoid f(int) {\n#endif\n}\n";
  EXPECT_EQ(flagged(check_function_lengths, {{"src/base/x.cpp", text}}),
            Places{"src/base/x.cpp:0"});
}

TEST(Banned, calls_are_found_and_likenesses_are_not) {
  EXPECT_EQ(banned_lines("int a = std::rand();\nint brand();\nint b = x.operand (1);\n"), Lines{1});
  EXPECT_EQ(banned_lines("\nauto t = std::chrono::system_clock::now();\n"), Lines{2});
  EXPECT_EQ(banned_lines("printf(\"x\");\nsnprintf(a, 3, \"x\");\nstd::cerr << 1;\n"),
            (Lines{1, 2, 3}));
  EXPECT_EQ(banned_lines("assert (a);\nstatic_assert(true);\n"), Lines{1});
  EXPECT_EQ(banned_lines("thread.detach();\n"), Lines{1});
  EXPECT_EQ(banned_lines("using namespace std;\nnamespace net = boost::asio;\n"), Lines{1});
  EXPECT_EQ(banned_lines("using namespace std::string_view_literals;\n"), Lines{});
  EXPECT_EQ(banned_lines("malloc(1);\n"), Lines{1});
  EXPECT_EQ(banned_lines("malloc(1);\n", "test/x.cpp"), Lines{});
  EXPECT_EQ(banned_lines("#pragma omp parallel for\n#include <omp.h>\n"), (Lines{1, 2}));
  EXPECT_EQ(banned_lines("// printf(\"x\") in a comment\nlog(\"printf()\");\n"), Lines{});
}

TEST(Banned, calls_are_allowed_in_their_own_place) {
  EXPECT_EQ(banned_lines("printf(\"x\");\n", "src/app/x.cpp"), Lines{});
  EXPECT_EQ(banned_lines("fprintf(stderr, \"x\");\n", "src/base/result.cpp"), Lines{});
  EXPECT_EQ(banned_lines("std::chrono::system_clock::now();\n", "src/base/clock.cpp"), Lines{});
  EXPECT_EQ(banned_lines("printf(\"x\");\n", "src/base/other.cpp"), Lines{1});
  EXPECT_EQ(banned_lines("printf(\"x\");\n", "src/apple/x.cpp"), Lines{1});
}

TEST(Banned, naked_new_and_delete) {
  EXPECT_EQ(banned_lines("int* a = new int;\ndelete a;\n"), (Lines{1, 2}));
  EXPECT_EQ(banned_lines("C(const C&) = delete;\n#include <new>\nauto renewed = 1;\n"), Lines{});
  EXPECT_EQ(banned_lines("return std::unique_ptr<C>(new C(1));\n"), Lines{});
  EXPECT_EQ(banned_lines("std::unique_ptr<C> a; f(new C);\n"), Lines{1});
  EXPECT_EQ(banned_lines("void* operator new(size_t);\nvoid operator delete(void*);\n"), Lines{});
}

TEST(Banned, throw_without_its_catch) {
  EXPECT_EQ(banned_lines("int a;\nthrow 1;\n"), Lines{2});
  EXPECT_EQ(banned_lines("try { throw 1; } catch (int) {}\n"), Lines{});
}

TEST(Banned, macros_of_our_own) {
  EXPECT_EQ(banned_lines("#define MAX(a, b) a\n"), Lines{1});
  EXPECT_EQ(banned_lines("# define MAX\n"), Lines{1});
  EXPECT_EQ(banned_lines("#define DCHECK(x) x\n#define PCRE2_CODE_UNIT_WIDTH 8\n"), Lines{});
}

TEST(Banned, marks_of_unfinished_work) {
  EXPECT_EQ(banned_lines("// TO"
                         "DO: later\n// TO"
                         "DO(#12): later\nint TO"
                         "DO_list;\n"),
            Lines{1});
  EXPECT_EQ(banned_lines("f(); // FIX"
                         "ME\n"),
            Lines{1});
}

TEST(Banned, tests_that_cannot_fail) {
  EXPECT_EQ(banned_lines("TEST(A, DISABLED_b) {}\n", "test/x.cpp"), Lines{1});
  EXPECT_EQ(banned_lines("EXPECT_TRUE(true);\nSUCCEED();\n", "test/x.cpp"), (Lines{1, 2}));
}

TEST(Banned, in_build_files) {
  EXPECT_EQ(banned_lines("a\nset(F -march="
                         "native)\n",
                         "src/CMakeLists.txt"),
            Lines{2});
  EXPECT_EQ(banned_lines("file(GL"
                         "OB x *.cpp)\n",
                         "cmake/x.cmake"),
            Lines{1});
}

TEST(Places, of_one_machine_are_found_in_any_file) {
  EXPECT_EQ(flagged(check_places, {{"docs/x.md",
                                    "a\nsee ../sha"
                                    "red/x\n"}}),
            Places{"docs/x.md:2"});
  EXPECT_EQ(flagged(check_places, {{"x.sh",
                                    "cd /wo"
                                    "rk/main\n"}}),
            Places{"x.sh:1"});
  EXPECT_EQ(flagged(check_places, {{"x.sh",
                                    "curl https://py"
                                    "pi.org/simple\n"}}),
            Places{"x.sh:1"});
  EXPECT_EQ(flagged(check_places, {{"x.sh",
                                    "ls test/wo"
                                    "rk/a\n"}}),
            Places{});
}

TEST(DeadFiles, are_those_no_rule_names) {
  const std::string rule = "ration_library(base SOURCES a.cpp sub/b.cpp)\n";
  EXPECT_EQ(flagged(check_dead_files, {{"src/base/CMakeLists.txt", rule},
                                       {"src/base/a.cpp", ""},
                                       {"src/base/b.cpp", ""},
                                       {"src/base/sub/b.cpp", ""},
                                       {"src/base/aa.cpp", ""},
                                       {"src/base/a.cpp.cpp", ""}}),
            (Places{"src/base/a.cpp.cpp:0", "src/base/aa.cpp:0", "src/base/b.cpp:0"}));
  EXPECT_EQ(flagged(check_dead_files, {{"bench/a.cpp", ""}}), Places{"bench/a.cpp:0"});
  // A program that is not ours to build has a script beside it that builds it.
  EXPECT_EQ(flagged(check_dead_files, {{"bench/peer/a.cpp", ""},
                                       {"bench/peer/build.sh", "clang++ \"$here/a.cpp\"\n"}}),
            Places{});
}

TEST(Depth, is_a_room_and_one_family) {
  EXPECT_EQ(flagged(check_depth, {{"src/run/cache/window.cpp", ""}}), Places{});
  EXPECT_EQ(flagged(check_depth, {{"src/run/cache/old/window.cpp", ""}}),
            Places{"src/run/cache/old/window.cpp:0"});
}

const std::string kTableHead =
    "| id | method | source | file | test | bench | measured | state |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n";

TEST(Methods, name_files_that_exist) {
  const auto with = [](const std::string& rows) {
    return flagged(check_methods,
                   {{"METHODS.md", kTableHead + rows}, {"src/a.cpp", ""}, {"test/a_test.cpp", ""}});
  };
  EXPECT_EQ(with("| m1 | A | paper | `src/a.cpp` | `test/a_test.cpp` | - | - | default |\n"),
            Places{});
  EXPECT_EQ(with("| m1 | A | paper | `src/b.cpp` | `test/a_test.cpp` | - | - | default |\n"),
            Places{"METHODS.md:3"});
  EXPECT_EQ(
      with("| m1 | A | paper | `src/a.cpp` | `test/b.cpp` | `bench/b.cpp` | - | great |\n").size(),
      3u);
  EXPECT_EQ(with("| m1 | A | paper | `src/a.cpp` | | - | - | default |\n").front(), "METHODS.md:3");
  EXPECT_EQ(with("").size(), 1u);
}

TEST(Methods, have_ids_of_their_own) {
  const std::string row = "| m1 | A | paper | src/a.cpp | test/a.cpp | - | - | option |\n";
  EXPECT_EQ(
      flagged(check_methods,
              {{"METHODS.md", kTableHead + row + row}, {"src/a.cpp", ""}, {"test/a.cpp", ""}}),
      Places{"METHODS.md:4"});
}

// A whole folder of policies as it should be; each test below breaks one thing.
Files policy_tree() {
  return {{"src/run/cache/cache.cpp",
           "constexpr std::array kPolicies{Row{\"window\", make_window}};\n"},
          {"src/run/cache/storage.cpp", "// Moves the bytes.\n"},
          {"src/run/cache/window.cpp",
           "// Window: keep the newest.\n//\n// Source    A paper, sec. 3.\n// Computes  keep\n"
           "// Departs   nothing\n// Costs     O(1)\n// Proved    test/run/window_test.cpp\n"},
          {"test/run/window_test.cpp", ""},
          {"METHODS.md", kTableHead + "| 1 | Window | A paper | `src/run/cache/window.cpp` | "
                                      "`test/run/window_test.cpp` | - | - | option |\n"}};
}

size_t policy_findings(const Files& files) {
  return check_policies(tree_of(files), {"src/run/cache"}).size();
}

TEST(Policies, are_clean_when_all_is_there) { EXPECT_EQ(policy_findings(policy_tree()), 0u); }

TEST(Policies, need_every_line_of_the_head) {
  for (const std::string field : {"Source", "Computes", "Departs", "Costs", "Proved"}) {
    Files files = policy_tree();
    std::string& text = files[2].second;
    text.replace(text.find(field), field.size(), "Nothing");
    EXPECT_EQ(policy_findings(files), 1u) << field;
  }
}

TEST(Policies, need_test_table_and_methods_row) {
  for (const size_t missing : {size_t{3}, size_t{4}}) {
    Files files = policy_tree();
    files.erase(files.begin() + static_cast<long>(missing));
    EXPECT_EQ(policy_findings(files), 1u) << missing;
  }
  Files files = policy_tree();
  files[0].second = "constexpr std::array<Row, 0> kPolicies{};\n";
  EXPECT_EQ(policy_findings(files), 1u);
  files.erase(files.begin());
  EXPECT_EQ(policy_findings(files), 1u);
}

}  // namespace
}  // namespace ration::tidy
