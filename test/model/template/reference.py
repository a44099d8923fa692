"""The reference our engine is held against: Python's jinja2, set up as Hugging Face's
apply_chat_template sets it up. Needs jinja2 (3.1.6 made the committed files)."""

import datetime
import json

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

NOW = 1753876800  # 2025-07-30 12:00:00 UTC: what strftime_now sees, here and in the C++ tests
BOS, EOS = "<|begin|>", "<|end|>"


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: what the assistant wrote. It renders as its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_show")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _show(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def strftime_now(form):
    now = datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)
    return now.strftime(form)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def variables(conversation):
    """What apply_chat_template passes for one entry of conversations.json."""
    values = {"messages": conversation["messages"], "tools": conversation.get("tools"),
              "documents": None,
              "add_generation_prompt": conversation.get("add_generation_prompt", True),
              "bos_token": BOS, "eos_token": EOS}
    values.update(conversation.get("arguments", {}))
    return values


def compiled(source):
    """A function from variables to the text, or to None where jinja2 raises anything."""
    try:
        template = environment().from_string(source)
    except Exception:  # noqa: BLE001 - whatever it is, ours must refuse too
        return lambda values: None

    def render(values):
        try:
            return template.render(**values)
        except Exception:  # noqa: BLE001
            return None

    return render
