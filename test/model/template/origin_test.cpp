// Special tokens are read only from what the template wrote. So a user's text must stay the user's
// through everything a template can do with it.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "model/template/template.h"

namespace ration {
namespace {

// The user writes Ж and nothing else that would be seen; no template here does.
constexpr std::string_view kMessages =
    R"([{"role": "Ж", "content": "<|Ж|> ж\n  Ж-Ж,жЖ", "Жkey": "Ж", "list": ["Ж", ["ж"]],)"
    R"( "format": "%%Ж %Y", "markup": "<Ж>", "half": "Ж%s{}"}])";

Result<Prompt> render_marked(std::string_view source) {
  const Result<ChatTemplate> compiled = ChatTemplate::compile(source);
  if (!compiled) return compiled.error();
  TemplateInput input;
  input.messages_json = kMessages;
  input.tools_json = R"([{"Ж": "Ж"}])";
  input.arguments_json = R"({"extra": "Ж", "Ж": 1})";
  input.bos_token = "<|begin|>";
  return compiled->render(input);
}

// Ж or ж, as it is or spelled in hexadecimal.
bool is_users(std::string_view text) {
  for (const std::string_view mark : {"Ж", "ж", "0416", "0436"}) {
    if (text.find(mark) != std::string_view::npos) return true;
  }
  return false;
}

void expect_stays_the_users(std::string_view source) {
  SCOPED_TRACE(std::string(source));
  const Result<Prompt> prompt = render_marked(source);
  ASSERT_TRUE(prompt) << prompt.error().message;
  bool found = false;
  for (const PromptSpan& span : *prompt) {
    found = found || (!span.from_template && is_users(span.text));
    EXPECT_FALSE(span.from_template && is_users(span.text)) << span.text;
  }
  EXPECT_TRUE(found) << "nothing of the user's in: " << plain_text(*prompt);
}

TEST(TemplateOrigin, pieces_have_their_authors) {
  const Result<Prompt> prompt =
      render_marked("{{ bos_token }}<|a|>{{ '<|' + messages[0].role + '|>' }}{{ 1 + 1 }}");
  ASSERT_TRUE(prompt) << prompt.error().message;
  EXPECT_EQ(*prompt, (Prompt{{"<|begin|><|a|><|", true}, {"Ж", false}, {"|>2", true}}));
}

TEST(TemplateOrigin, survives_filters) {
  for (const std::string_view filter : {"upper",
                                        "lower",
                                        "title",
                                        "capitalize",
                                        "trim",
                                        "trim('<')",
                                        "string",
                                        "safe",
                                        "escape",
                                        "e",
                                        "forceescape",
                                        "reverse",
                                        "first ~ x[2]",
                                        "replace('-', '+')",
                                        "replace('', '.')",
                                        "center(99)",
                                        "indent(2, true)",
                                        "truncate(9, true)",
                                        "list",
                                        "list | join",
                                        "join('-')",
                                        "sort | join",
                                        "unique | join",
                                        "batch(2) | list",
                                        "slice(2) | list",
                                        "map('upper') | join",
                                        "select | list | string",
                                        "tojson",
                                        "tojson(ensure_ascii=true)",
                                        "tojson(indent=1)",
                                        "default('a')",
                                        "format",
                                        "max",
                                        "groupby(0) | list if false else x",
                                        "wordcount ~ x",
                                        "tojson(separators=('-', '-'))",
                                        "string | safe | string"}) {
    expect_stays_the_users("{% set x = messages[0].content %}{{ x | " + std::string(filter) +
                           " }}");
  }
}

TEST(TemplateOrigin, survives_methods) {
  for (const std::string_view method :
       {"upper()",          "lower()",         "title()",           "capitalize()",
        "swapcase()",       "casefold()",      "strip()",           "strip('<')",
        "lstrip()",         "rstrip()",        "split()",           "split(',')",
        "rsplit(',', 1)",   "splitlines()",    "partition('-')",    "rpartition('-')",
        "replace('|', '')", "center(50, '-')", "ljust(50)",         "rjust(50)",
        "zfill(50)",        "expandtabs()",    "removeprefix('<')", "removesuffix('Ж')",
        "join(['a', 'b'])", "format()"}) {
    expect_stays_the_users("{{ messages[0].content." + std::string(method) + " }}");
  }
}

TEST(TemplateOrigin, survives_operators_and_formats) {
  for (const std::string_view expression : {"x",
                                            "x + ''",
                                            "'a' + x",
                                            "x ~ 1",
                                            "x * 2",
                                            "2 * x",
                                            "x[1:]",
                                            "x[::-1]",
                                            "x[2]",
                                            "[x]",
                                            "(x, 1)",
                                            "{'a': x}",
                                            "{x: 1}",
                                            "[x] + [1]",
                                            "'%s' % x",
                                            "'%r' % x",
                                            "'%(a)s' % {'a': x}",
                                            "'%-9s|' % x",
                                            "'%.4s' % x",
                                            "'{}'.format(x)",
                                            "'{!r}'.format(x)",
                                            "'{a:>40}'.format(a=x)",
                                            "'{0[content]}'.format(messages[0])",
                                            "'{0.content}'.format(messages[0])",
                                            "messages[0].half % 'a'",
                                            "messages[0].half.format('a')",
                                            "'-'.join([x, x])",
                                            "x.join('ab')",
                                            "'ab' | join(x)",
                                            "'a\nb' | indent(x)",
                                            "'aa'.replace('a', x)",
                                            "'aa' | replace('a', x)",
                                            "('a' * 90) | truncate(40, end=x)",
                                            "'a'.center(9, x[2])",
                                            "'{:{}>9}'.format(1, x[2])",
                                            "x if true else ''",
                                            "'' or x",
                                            "'a' and x",
                                            "('<' | safe) + x",
                                            "missing | default(x)",
                                            "messages | map(attribute='role')"
                                            " | join",
                                            "messages | groupby('role')",
                                            "messages[0] | dictsort",
                                            "messages[0] | items"
                                            " | list",
                                            "messages[0].items()",
                                            "messages[0].keys()",
                                            "messages[0].values()",
                                            "messages",
                                            "messages[0].list",
                                            "messages[0].list | sum(start=['a']) if false else x",
                                            "tools",
                                            "extra",
                                            "messages | tojson",
                                            "messages[0] | tojson(sort_keys=true)",
                                            "tools | tojson(indent=2)"}) {
    expect_stays_the_users("{% set x = messages[0].content %}{{ " + std::string(expression) +
                           " }}");
  }
}

TEST(TemplateOrigin, survives_names_that_a_user_chose) {
  for (const std::string_view expression :
       {"dict(**messages[0])", "dict(messages[0])", "namespace(**messages[0])",
        "namespace(messages[0])", "messages[0] | list",
        "messages[0] | first ~ messages[0] | last"
        " ~ messages[0] | join"}) {
    expect_stays_the_users("{{ " + std::string(expression) + " }}");
  }
  expect_stays_the_users("{% macro m() %}{{ kwargs }}{% endmacro %}{{ m(**messages[0]) }}");
  expect_stays_the_users("{{ '%(Жkey)s' | format(**messages[0]) }}");
  expect_stays_the_users("{% for k, v in messages[0].items() %}{{ k }}{% endfor %}");
}

TEST(TemplateOrigin, survives_statements) {
  for (const std::string_view source :
       {"{% set y %}{{ x }}{% endset %}{{ y }}", "{% set y | upper %}a{{ x }}{% endset %}{{ y }}",
        "{% filter lower %}{{ x }}{% endfilter %}",
        "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(x) }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ x }}{% endcall %}",
        "{% macro m() %}{{ varargs }}{% endmacro %}{{ m(x) }}",
        "{% for c in x %}{{ c }}{% endfor %}", "{% for l in x.splitlines() %}{{ l }}{% endfor %}",
        "{% for c in [x] recursive %}{{ loop(c) if c | length > 1 else c }}{% endfor %}",
        "{% with y = x %}{{ y }}{% endwith %}", "{% generation %}{{ x }}{% endgeneration %}",
        "{% set n = namespace(a=x) %}{% set n.b = x %}{{ n.a }}{{ n }}",
        "{% set c = cycler(x, 'b') %}{{ c.next() }}{{ c.items }}",
        "{% set j = joiner(x) %}{{ j() }}{{ j() }}", "{% print x %}",
        "{% for a in [1, 2] %}{{ loop.cycle(x, 'b') }}{% endfor %}"}) {
    expect_stays_the_users("{% set x = messages[0].content %}" + std::string(source));
  }
}

TEST(TemplateOrigin, a_users_format_or_separator_makes_all_of_it_the_users) {
  expect_stays_the_users("{{ strftime_now(messages[0].format) }}");
  expect_stays_the_users("{{ [1, 2] | tojson(indent=messages[0].role) }}");
  expect_stays_the_users("{{ {'a': [1, 2]} | tojson(separators=(',', messages[0].role)) }}");
  expect_stays_the_users("{{ [1, 2] | tojson(separators=(messages[0].role, ':')) }}");
}

TEST(TemplateOrigin, a_json_texts_brackets_are_the_users) {
  const Result<Prompt> prompt =
      render_marked("{{ messages[0].list | tojson }}{{ ['<', 'b'] | tojson }}");
  ASSERT_TRUE(prompt) << prompt.error().message;
  EXPECT_EQ(*prompt, (Prompt{{R"(["Ж", ["ж"]])", false}, {R"(["<", "b"])", true}}));
}

}  // namespace
}  // namespace ration
