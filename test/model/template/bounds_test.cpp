// A template comes inside a file from strangers: whatever it says, compiling and rendering it end
// soon, with an answer or with an error that names the bound.
#include <gtest/gtest.h>

#include <array>
#include <ctime>
#include <string>
#include <string_view>

#include "model/template/template.h"

namespace ration {
namespace {

// Of processor time; most take a tenth of it.
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr double kSecondsMax = 20.0;
#else
constexpr double kSecondsMax = 2.0;
#endif

double seconds_since(std::clock_t start) {
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

Result<Prompt> render(std::string_view source, const TemplateLimits& limits = {},
                      const std::string& messages = "[]") {
  const Result<ChatTemplate> compiled = ChatTemplate::compile(source, limits);
  if (!compiled) return compiled.error();
  TemplateInput input;
  input.messages_json = messages;
  return compiled->render(input);
}

std::string repeat(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// `times` of `open`, then `middle`, then as many of `close`.
std::string nested(std::string_view open, std::string_view middle, std::string_view close,
                   int times) {
  return repeat(open, times) + std::string(middle) + repeat(close, times);
}

// Refused in time, by the bound whose name is `what`.
void expect_refused(std::string_view source, std::string_view what,
                    const TemplateLimits& limits = {}) {
  SCOPED_TRACE(std::string(source.substr(0, 200)));
  const std::clock_t start = std::clock();
  const Result<Prompt> prompt = render(source, limits);
  const double seconds = seconds_since(start);
  ASSERT_FALSE(prompt) << plain_text(*prompt).substr(0, 200);
  EXPECT_EQ(prompt.error().code, Code::kOverBudget) << prompt.error().message;
  EXPECT_NE(prompt.error().message.find(what), std::string::npos) << prompt.error().message;
  ASSERT_TRUE(prompt.error().shortfall) << prompt.error().message;
  EXPECT_GT(prompt.error().shortfall->missing(), 0);
  EXPECT_LT(seconds, kSecondsMax);
}

// The text, or the error's message.
std::string text_of(const Result<Prompt>& prompt) {
  return prompt ? plain_text(*prompt) : prompt.error().message;
}

TEST(TemplateBounds, steps_end_loops) {
  constexpr std::string_view kNestedLoops =
      "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
  expect_refused(kNestedLoops, "steps");
  expect_refused("{% for a in range(99999) %}{{ range(99999) | sum }}{% endfor %}", "steps");
  expect_refused("{% for a in range(99999) %}{{ range(99999) | list | tojson }}{% endfor %}",
                 "steps");
  expect_refused("{% set l = range(99999) | list %}{% for a in l %}{{ -1 in l }}{% endfor %}",
                 "steps");
  expect_refused(
      "{% set s = 'ab' * 9999999 %}{% for a in range(99999) %}{{ s.count('aa') }}"
      "{% endfor %}",
      "steps");
  expect_refused("{% set s = ' ' * 9999999 %}{% for a in range(99999) %}{{ s | trim }}{% endfor %}",
                 "steps");
  expect_refused("{% for a in range(99) %}x{% endfor %}", "steps, wanted at most 50",
                 {.steps_max = 50});
}

TEST(TemplateBounds, ranges_are_short) {
  expect_refused("{% for i in range(10 ** 9) %}{% endfor %}", "elements in a range");
  expect_refused("{{ range(10 ** 9) | list }}", "elements in a range");
  expect_refused("{{ range(-10 ** 9, 10 ** 9) }}", "elements in a range");
}

TEST(TemplateBounds, bytes_end_growing_texts) {
  expect_refused("{{ 'a' * 10 ** 9 }}", "bytes of text");
  expect_refused("{{ 10 ** 9 * 'a' }}", "bytes of text");
  expect_refused("{{ 'a' * 10 ** 18 }}", "bytes of text");
  expect_refused("{{ 'a'.center(10 ** 9) }}", "bytes of text");
  expect_refused("{{ 'a'.zfill(10 ** 9) }}", "bytes of text");
  expect_refused("{{ 'a'.ljust(10 ** 9, 'x') }}", "bytes of text");
  expect_refused("{{ '\t'.expandtabs(10 ** 9) }}", "bytes of text");
  expect_refused("{{ '%1000000000d' % 1 }}", "bytes of text");
  expect_refused("{{ '%*d' % (10 ** 9, 1) }}", "bytes of text");
  expect_refused("{{ '{:1000000000}'.format(1) }}", "bytes of text");
  expect_refused("{{ 'a' | center(10 ** 9) }}", "bytes of text");
  expect_refused("{{ 'a\nb' | indent(10 ** 9) }}", "bytes of text");
  expect_refused("{{ [1] | tojson(indent=10 ** 9) }}", "bytes of text");
  expect_refused("{{ '%.9999f' % 1.5 }}", "digits");
  expect_refused("{% for i in range(99999) %}" + repeat("x", 9999) + "{% endfor %}",
                 "bytes of text");
  expect_refused("{{ 'abc' }}", "bytes of text, wanted at most 2", {.output_bytes_max = 2});
  expect_refused("abc", "bytes of text, wanted at most 2", {.output_bytes_max = 2});
}

// A text or a list that a step makes of itself, again and again.
std::string doubling(std::string_view start, std::string_view step) {
  return "{% set n = namespace(x=" + std::string(start) +
         ") %}{% for i in range(99) %}{% set n.x = " + std::string(step) + " %}{% endfor %}";
}

TEST(TemplateBounds, doubling_ends) {
  expect_refused(doubling("'ab'", "n.x + n.x"), "bytes of text");
  expect_refused(doubling("[1]", "n.x + n.x"), "wanted at most");
  const TemplateLimits small{.output_bytes_max = 1 << 20, .memory_bytes_max = 4 << 20};
  for (const std::string_view step :
       {"n.x ~ n.x", "n.x * 2", "n.x.replace('a', n.x)", "n.x.join([n.x, n.x])",
        "'%s%s' % (n.x, n.x)", "'{0}{0}'.format(n.x)", "[n.x, n.x] | join", "n.x | indent(n.x)",
        "n.x.center(2 * n.x | length)", "n.x | map('default') | join(n.x)"}) {
    expect_refused(doubling("'ab\nc'", step), "bytes of", small);
  }
  expect_refused(doubling("'\\\\'", "n.x | tojson"), "bytes of", small);
  expect_refused(doubling("['\\\\']", "[n.x | string]"), "bytes of", small);
  expect_refused(doubling("[1]", "n.x * 2"), "wanted at most", small);
  // A list of itself twice stays small; only its text would not.
  const std::string pairs = doubling("[1]", "[n.x, n.x]");
  EXPECT_EQ(text_of(render(pairs + "{{ n.x | length }}")), "2");
  for (const std::string_view use : {"{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x ~ '' }}"}) {
    expect_refused(pairs + std::string(use), "bytes of", small);
  }
  expect_refused(doubling("{}", "{'a': n.x, 'b': n.x}") + "{{ n.x }}", "wanted at most");
}

TEST(TemplateBounds, memory_ends_collecting) {
  constexpr std::string_view kCollect =
      "{% set s = 'x' * 999999 %}{% set n = namespace(l=[]) %}"
      "{% for i in range(99999) %}{% set n.l = n.l + [s ~ i] %}{% endfor %}";
  expect_refused(kCollect, "bytes of memory");
  // Texts whose author changes at every byte cost more than their bytes.
  constexpr std::string_view kMixed =
      "{% set s = ('a' ~ messages[0] ~ 'b' ~ messages[0]) * 9999999 %}{{ s }}";
  const Result<Prompt> mixed = render(kMixed, {}, R"(["u"])");
  ASSERT_FALSE(mixed);
  EXPECT_NE(mixed.error().message.find("bytes of memory"), std::string::npos);
}

TEST(TemplateBounds, depth_ends_nested_source) {
  for (const auto& [open, middle, close] :
       {std::array{"(", "1", ")"}, std::array{"[", "1", "]"}, std::array{"{1: ", "1", "}"},
        std::array{"(1, ", "1", ")"}, std::array{"not ", "1", ""}, std::array{"- ", "1", ""},
        std::array{"a[", "1", "]"}, std::array{"a(", "1", ")"}, std::array{"1 | d(", "1", ")"},
        std::array{"1 is eq(", "1", ")"}, std::array{"a[1:", "1", "]"},
        std::array{"2 ** (", "1", ")"}, std::array{"a(b=", "1", ")"},
        std::array{"1 + (1 - (", "1", "))"}}) {
    expect_refused("{{ " + nested(open, middle, close, 5000) + " }}", "nested levels");
    EXPECT_EQ(render("{% if false %}{{ " + nested(open, middle, close, 20) + " }}{% endif %}ok")
                  .value()
                  .at(0)
                  .text,
              "ok");
  }
}

TEST(TemplateBounds, depth_ends_nested_blocks) {
  for (const auto& [open, close] :
       {std::array{"{% if 1 %}", "{% endif %}"}, std::array{"{% if 0 %}{% else %}", "{% endif %}"},
        std::array{"{% for a in b %}", "{% endfor %}"},
        std::array{"{% for a in b %}{% else %}", "{% endfor %}"},
        std::array{"{% macro m() %}", "{% endmacro %}"},
        std::array{"{% call m() %}", "{% endcall %}"},
        std::array{"{% filter upper %}", "{% endfilter %}"},
        std::array{"{% set x %}", "{% endset %}"}, std::array{"{% with %}", "{% endwith %}"},
        std::array{"{% generation %}", "{% endgeneration %}"}}) {
    expect_refused(nested(open, "", close, 5000), "nested levels");
    expect_refused(nested(open, "", close, 30), "nested levels, wanted at most 10",
                   {.depth_max = 10});
    EXPECT_TRUE(ChatTemplate::compile(nested(open, "", close, 50))) << open;
  }
}

TEST(TemplateBounds, chains_end) {
  for (const std::string_view link : {".a", "[0]", "()", "|upper", " if 1 else 1"}) {
    expect_refused("{{ a" + repeat(link, 5000) + " }}", "wanted at most");
  }
  // Flat chains of operators are as long as the source allows.
  EXPECT_EQ(text_of(render("{{ 0" + repeat(" + 1", 5000) + " }}")), "5000");
  EXPECT_EQ(text_of(render("{{ ''" + repeat(" ~ 1", 5000) + " }}")), repeat("1", 5000));
  EXPECT_EQ(text_of(render("{{ 0" + repeat(" or 0", 5000) + " }}")), "0");
  EXPECT_EQ(text_of(render("{{ 1" + repeat(" == 1", 5000) + " }}")), "True");
  EXPECT_EQ(text_of(render("{% if 0 %}" + repeat("{% elif 0 %}", 5000) + "{% endif %}-")), "-");
}

TEST(TemplateBounds, depth_ends_recursion) {
  expect_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested levels");
  expect_refused("{% macro m(n) %}{{ m(n + 1) ~ n }}{% endmacro %}{{ m(0) }}", "nested levels");
  expect_refused(
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}"
      "{{ a() }}",
      "nested levels");
  expect_refused("{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
                 "nested levels");
  expect_refused(
      "{% macro m() %}{% for i in [1] %}{% if i %}{% with %}{% set x %}{{ m() }}"
      "{% endset %}{{ x }}{% endwith %}{% endif %}{% endfor %}{% endmacro %}{{ m() }}",
      "nested levels");
  expect_refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "nested levels");
  expect_refused("{% macro m() %}{{ [1] | map('default', m()) | list }}{% endmacro %}{{ m() }}",
                 "nested levels");
}

TEST(TemplateBounds, depth_ends_nested_values) {
  constexpr std::string_view kDeep =
      "{% set n = namespace(x=[]) %}"
      "{% for i in range(5000) %}{% set n.x = [n.x] %}{% endfor %}";
  for (const std::string_view use : {"{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x == [n.x] }}",
                                     "{{ n.x < [n.x] }}", "{{ n.x | string }}", "{{ '%s' % n.x }}",
                                     "{{ [n.x, [n.x]] | sort }}", "{{ n.x in [[n.x]] }}"}) {
    expect_refused(std::string(kDeep) + std::string(use), "nested levels");
  }
  EXPECT_EQ(text_of(render(std::string(kDeep) + "{{ n.x | length }}")), "1");
}

TEST(TemplateBounds, a_namespace_that_holds_itself_is_refused) {
  constexpr std::string_view kSelf = "{% set n = namespace() %}{% set n.x = n %}";
  expect_refused(std::string(kSelf) + "{{ n }}", "nested levels");
  expect_refused(std::string(kSelf) + "{{ [n.x.x.x] }}", "nested levels");
}

TEST(TemplateBounds, an_exponential_tree_of_calls_ends) {
  std::string source = "{% macro m0() %}x{% endmacro %}";
  for (int i = 1; i < 60; ++i) {
    const std::string before = "m" + std::to_string(i - 1) + "()";
    source += "{% macro m" + std::to_string(i) + "() %}{{ " + before + " ~ " + before +
              " }}{% endmacro %}";
  }
  expect_refused(source + "{{ m59() }}", "steps");
}

TEST(TemplateBounds, source_is_short) {
  expect_refused(std::string(2 << 20, 'x'), "too long");
  expect_refused("12345", "too long", {.source_bytes_max = 4});
}

TEST(TemplateBounds, long_source_is_read_in_a_moment) {
  for (const std::string_view piece :
       {"{{ a }}", "{# #}", "{% raw %}", "{% if 1 %}{% endif %}", "{{ 'a' 'b' }}", "{", "{{", "\n",
        "{%- set a = 1 -%}\n", "(", "{{ [1, 2, {'a': 1}] }}", "{%", "'", "{% raw %}{% endraw %}",
        "{{ a.b|c }}", "  {% if x %}\n"}) {
    const int times = static_cast<int>((1 << 20) / piece.size());
    const std::string source = repeat(piece, times);
    const std::clock_t start = std::clock();
    (void)render(source);
    EXPECT_LT(seconds_since(start), kSecondsMax) << piece;
  }
}

TEST(TemplateBounds, input_that_is_no_json_is_named) {
  const Result<ChatTemplate> compiled = ChatTemplate::compile("{{ messages }}");
  ASSERT_TRUE(compiled);
  const auto message = [&](const TemplateInput& input) {
    const Result<Prompt> prompt = compiled->render(input);
    return prompt ? "no error" : prompt.error().message;
  };
  EXPECT_TRUE(message({.messages_json = "[{"}).starts_with("messages:"));
  EXPECT_TRUE(message({.messages_json = "{}"}).starts_with("messages: wanted a JSON array"));
  EXPECT_TRUE(
      message({.messages_json = repeat("[", 100) + repeat("]", 100)}).starts_with("messages:"));
  EXPECT_TRUE(message({.messages_json = "[]", .tools_json = "nope"}).starts_with("tools:"));
  EXPECT_TRUE(message({.messages_json = "[]", .arguments_json = "[]"})
                  .starts_with("template arguments: wanted a JSON object"));
}

TEST(TemplateBounds, invalid_utf8_is_refused) {
  const Result<ChatTemplate> compiled = ChatTemplate::compile("{{ 'a\xff' }}");
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().code, Code::kInvalid);
}

}  // namespace
}  // namespace ration
