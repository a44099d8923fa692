#!/usr/bin/env python3
"""The official clients of openai, anthropic and ollama against `ration serve`.

    clients_test.py RATION FOLDER_OF_TINY_MODELS

Run by clients_test.sh, which fetches the clients. The model is data/tiny/parrot.gguf, which says the
same whatever it is asked: it thinks, says a word, and calls a tool (its maker has the script).
"""

import json
import pathlib
import re
import subprocess
import sys
import threading
import unittest
import urllib.request

import anthropic
import ollama
import openai

RATION = sys.argv[1]
TINY = pathlib.Path(sys.argv[2])

REASONING = "Bern is a city."
WORDS = "I look."
TOOL = "weather"
ARGUMENTS = {"city": "Bern", "days": 2}

HELLO = [{"role": "user", "content": "How is the weather?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": TOOL, "description": "tells the weather", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]


class Server:
    """`ration serve` on a free port."""

    def __init__(self, model, *words):
        self.process = subprocess.Popen(
            [RATION, "serve", model, "--port", "0", "--threads", "1",
             *(map(str, words) if words else ("--context", "512"))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = re.search(r"answers at (http://\S+)/v1", self.process.stdout.readline())
        assert found, "the server did not start"
        self.url = found.group(1)
        self.reader = threading.Thread(target=self.process.stdout.read, daemon=True)
        self.reader.start()

    def health(self):
        with urllib.request.urlopen(self.url + "/health", timeout=60) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0
        self.reader.join()
        self.process.stdout.close()


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(TINY / "parrot.gguf")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()


class Vectors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(TINY / "bert", "--context", 64)
        cls.text = json.loads((TINY / "bert.json").read_text())["texts"][1]

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_openai_and_ollama_get_the_same_vectors(self):
        client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0)
        self.addCleanup(client.close)
        texts = [self.text["text"], "a dog"]
        coded = client.embeddings.create(model="bert", input=texts)  # base64 unless told otherwise
        plain = client.embeddings.create(model="bert", input=texts, encoding_format="float")
        self.assertEqual([len(one.embedding) for one in coded.data], [24, 24])
        for a, b in zip(coded.data, plain.data, strict=True):
            for x, y in zip(a.embedding, b.embedding, strict=True):
                self.assertAlmostEqual(x, y, places=7)
        self.assertGreaterEqual(plain.usage.prompt_tokens, len(self.text["ids"]))
        theirs = ollama.Client(host=self.server.url).embed(model="bert", input=texts)
        for a, b in zip(theirs.embeddings, plain.data, strict=True):
            self.assertEqual(list(a), b.embedding)
        with self.assertRaises(openai.BadRequestError) as refused:
            client.embeddings.create(model="bert", input="cat " * 100)
        self.assertEqual(refused.exception.code, "context_length_exceeded")
        self.assertEqual(len(ollama.Client(host=self.server.url).embed(
            model="bert", input="cat " * 100).embeddings), 1)
        old = ollama.Client(host=self.server.url).embeddings(model="bert", prompt="a dog")
        self.assertEqual(list(old.embedding), list(theirs.embeddings[1]))


class OpenAi(Clients):
    def setUp(self):
        self.client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="none",
                                    max_retries=0, timeout=60)
        self.addCleanup(self.client.close)

    def chat(self, **more):
        return self.client.chat.completions.create(model="parrot", messages=HELLO, temperature=0,
                                                   **more)

    def test_reasoning_and_tools(self):
        answer = self.chat(tools=TOOLS)
        message = answer.choices[0].message
        self.assertEqual(message.reasoning_content, REASONING)
        self.assertEqual(message.content, WORDS)
        self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
        self.assertEqual(message.tool_calls[0].function.name, TOOL)
        self.assertEqual(json.loads(message.tool_calls[0].function.arguments), ARGUMENTS)
        # What the tool said, sent back with the call.
        told = [*HELLO, message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"}]
        again = self.client.chat.completions.create(model="parrot", messages=told, tools=TOOLS,
                                                    max_tokens=1)
        self.assertGreater(again.usage.prompt_tokens, answer.usage.prompt_tokens)

    def test_streamed_tools(self):
        reasoning, words, arguments, names, reasons = "", "", "", [], []
        for chunk in self.chat(tools=TOOLS, stream=True):
            choice = chunk.choices[0]
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            words += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                self.assertEqual(call.index, 0)
                if call.function.name:
                    names.append((call.id, call.function.name))
                    self.assertEqual(arguments, "")
                arguments += call.function.arguments or ""
            if choice.finish_reason:
                reasons.append(choice.finish_reason)
        self.assertEqual((reasoning, words), (REASONING, WORDS))
        self.assertEqual([name for _, name in names], [TOOL])
        self.assertTrue(names[0][0])
        self.assertEqual(json.loads(arguments), ARGUMENTS)
        self.assertEqual(reasons, ["tool_calls"])

    def test_without_tools_a_call_is_text(self):
        content = self.chat().choices[0].message.content
        self.assertTrue(content.startswith(WORDS))
        self.assertIn("<tool_call>", content)
        self.assertEqual(content, self.chat(tools=TOOLS, tool_choice="none")
                         .choices[0].message.content)

    def test_refusals(self):
        for more, param in (({"tool_choice": "required", "tools": TOOLS}, "tool_choice"),
                            ({"reasoning_effort": "low"}, "reasoning_effort"),
                            ({"response_format": {"type": "json_schema", "json_schema": {
                                "name": "x", "schema": SCHEMA}}}, "response_format")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.chat(**more)
            self.assertEqual(caught.exception.param, param)

    def test_responses(self):
        tools = [{"type": "function", "strict": False, **FUNCTION}]
        arguments = {"model": "parrot", "input": "How is the weather?", "tools": tools,
                     "instructions": "Be brief."}
        answer = self.client.responses.create(**arguments)
        self.assertEqual(answer.output_text, WORDS)
        self.assertEqual(answer.status, "completed")
        self.assertEqual(answer.instructions, "Be brief.")
        self.assertEqual([item.type for item in answer.output],
                         ["reasoning", "message", "function_call"])
        self.assertEqual(json.loads(answer.output[2].arguments), ARGUMENTS)
        self.assertGreater(answer.usage.output_tokens, 0)
        # The same as events, and the conversation goes on without a memory of ours.
        with self.client.responses.stream(**arguments) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertEqual(final.output_text, WORDS)
        self.assertEqual(kinds[0], "response.created")
        self.assertEqual(kinds[-1], "response.completed")
        self.assertIn("response.function_call_arguments.done", kinds)
        told = [{"role": "user", "content": "How is the weather?"},
                *[item.model_dump(exclude_none=True) for item in answer.output],
                {"type": "function_call_output", "call_id": answer.output[2].call_id,
                 "output": "rain"}]
        again = self.client.responses.create(model="parrot", input=told, max_output_tokens=2)
        self.assertEqual(again.status, "incomplete")
        self.assertEqual(again.incomplete_details.reason, "max_output_tokens")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.responses.create(model="parrot", input="x", previous_response_id="resp_1")
        self.assertEqual(caught.exception.param, "previous_response_id")


class Anthropic(Clients):
    TOOLS = [{"name": TOOL, "description": "tells the weather", "input_schema": SCHEMA}]

    def setUp(self):
        self.client = anthropic.Anthropic(base_url=self.server.url, api_key="none", max_retries=0,
                                          timeout=60)
        self.addCleanup(self.client.close)
        self.arguments = {"model": "parrot", "max_tokens": 64, "messages": HELLO,
                          "system": "Be brief.", "tools": self.TOOLS}

    def check(self, message):
        self.assertEqual([block.type for block in message.content],
                         ["thinking", "text", "tool_use"])
        self.assertEqual(message.content[0].thinking, REASONING)
        self.assertEqual(message.content[1].text, WORDS)
        self.assertEqual(message.content[2].name, TOOL)
        self.assertEqual(message.content[2].input, ARGUMENTS)
        self.assertEqual(message.stop_reason, "tool_use")
        self.assertGreater(message.usage.output_tokens, 0)

    def test_answers_whole_and_streamed(self):
        whole = self.client.messages.create(**self.arguments)
        self.check(whole)
        with self.client.messages.stream(**self.arguments) as stream:
            self.assertEqual("".join(stream.text_stream), WORDS)
            self.check(stream.get_final_message())
        counted = self.client.messages.count_tokens(
            model="parrot", messages=HELLO, system="Be brief.", tools=self.TOOLS)
        self.assertEqual(counted.input_tokens, whole.usage.input_tokens)
        # The conversation goes on with what the tool said.
        told = [*HELLO, {"role": "assistant", "content": whole.content},
                {"role": "user", "content": [{"type": "tool_result", "content": "rain",
                                              "tool_use_id": whole.content[2].id}]}]
        again = self.client.messages.create(**(self.arguments | {"messages": told,
                                                                 "max_tokens": 1}))
        self.assertEqual(again.stop_reason, "max_tokens")

    def test_stop_sequences(self):
        message = self.client.messages.create(**(self.arguments | {"stop_sequences": ["look"]}))
        self.assertEqual(message.stop_reason, "stop_sequence")
        self.assertEqual(message.stop_sequence, "look")
        self.assertEqual(message.content[1].text, "I ")

    def test_errors_are_of_the_right_class(self):
        for more, kind in (({"model": "claude"}, anthropic.NotFoundError),
                           ({"extra_body": {"temperature": -1}}, anthropic.BadRequestError),
                           ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError),
                           ({"messages": [{"role": "user", "content": "word " * 2000}]},
                            anthropic.BadRequestError)):
            with self.assertRaises(kind) as caught:
                self.client.messages.create(**(self.arguments | more))
            self.assertEqual(caught.exception.body["type"], "error")


class Ollama(Clients):
    def setUp(self):
        self.client = ollama.Client(host=self.server.url, timeout=60)
        self.addCleanup(self.client._client.close)

    def check(self, message):
        self.assertEqual(message.thinking, REASONING)
        self.assertEqual(message.content, WORDS)
        self.assertEqual(message.tool_calls[0].function.name, TOOL)
        self.assertEqual(dict(message.tool_calls[0].function.arguments), ARGUMENTS)

    def test_chat_whole_and_streamed(self):
        arguments = {"model": "parrot:latest", "messages": HELLO, "tools": TOOLS,
                     "options": {"temperature": 0, "num_predict": 64, "num_ctx": 512},
                     "keep_alive": "5m"}
        answer = self.client.chat(**arguments)
        self.check(answer.message)
        self.assertEqual(answer.done_reason, "stop")
        self.assertGreater(answer.eval_count, 0)
        self.assertGreater(answer.eval_duration, 0)
        thinking, content, calls, done = "", "", [], []
        for line in self.client.chat(**arguments, stream=True):
            thinking += line.message.thinking or ""
            content += line.message.content or ""
            calls += line.message.tool_calls or []
            done.append(line.done)
        self.assertEqual((thinking, content), (REASONING, WORDS))
        self.assertEqual(dict(calls[0].function.arguments), ARGUMENTS)
        self.assertEqual(done.count(True), 1)
        self.assertTrue(done[-1])
        told = [*HELLO, answer.message,
                {"role": "tool", "tool_name": TOOL, "content": "rain"}]
        again = self.client.chat(model="parrot", messages=told, options={"num_predict": 1})
        self.assertEqual(again.done_reason, "length")

    def test_generate(self):
        answer = self.client.generate(model="parrot", prompt="hi", system="Be brief.")
        self.assertEqual(answer.thinking, REASONING)
        self.assertTrue(answer.response.startswith(WORDS))
        streamed = "".join(line.response for line in self.client.generate(
            model="parrot", prompt="hi", system="Be brief.", stream=True))
        self.assertEqual(streamed, answer.response)
        self.assertEqual(self.client.generate(model="parrot").done_reason, "load")
        off = self.client.generate(model="parrot", prompt="hi", think=False)
        self.assertFalse(off.thinking)

    def test_models(self):
        self.assertEqual([model.model for model in self.client.list().models], ["parrot"])
        self.assertEqual([model.model for model in self.client.ps().models], ["parrot"])
        shown = self.client.show("parrot")
        self.assertEqual(shown.details.family, "qwen2")
        self.assertEqual(set(shown.capabilities), {"completion", "tools", "thinking"})

    def test_loads_and_unloads(self):
        self.assertEqual(self.client.generate("parrot", keep_alive=0).done_reason, "unload")
        self.assertEqual(self.client.generate("parrot", keep_alive=-1).done_reason, "load")
        self.assertEqual([row.model for row in self.client.ps().models], ["parrot"])

    def test_errors(self):
        for call, status in (
                (lambda: self.client.chat("nobody", HELLO), 404),
                (lambda: self.client.chat("parrot", HELLO, options={"num_ctx": 100000}), 400),
                (lambda: self.client.chat("parrot", HELLO, options={"mirostat": 1}), 400),
                (lambda: self.client.chat("parrot", HELLO, format="json"), 400),
                (lambda: self.client.generate("parrot", "x", template="y"), 400)):
            with self.assertRaises(ollama.ResponseError) as caught:
                call()
            self.assertEqual(caught.exception.status_code, status)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
