#!/usr/bin/env python3
"""The official openai client against a real server: lists, answers, streams, cancels, errors.

    openai_client_test.py RATION MODEL

RATION is the program, MODEL a file or a name. Run by openai_client_test.sh, which makes a virtual
environment with the client.
"""

import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import openai

RATION, MODEL = sys.argv[1:3]


class Server:
    """`ration serve` on a free port; `lines` are what it prints."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [RATION, "serve", MODEL, "--port", "0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.url = None
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"answers at (\S+)", line)
            if found:
                self.url = found.group(1)
                break
        assert self.url, "".join(self.lines)
        self.drained = threading.Thread(target=self.drain, daemon=True)
        self.drained.start()

    def drain(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def health(self):
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/health", timeout=60) as answer:
            return json.load(answer)

    def wait_idle(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answers = self.health()["answers"]
            if answers["active"] == 0 and answers["waiting"] == 0:
                return True
            time.sleep(0.05)
        return False

    def cpu_seconds(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        code = self.process.wait(timeout=60)
        self.drained.join()
        self.process.stdout.close()
        return code


HELLO = [{"role": "user", "content": "Say hello."}]


class OpenAiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        config = pathlib.Path(cls.folder.name) / "config.toml"
        config.write_text("[tariff]\nusd_per_million_tokens = 2\n")
        cls.server = Server("--memory", "400MB", "--context", "1024", "--config", str(config))
        cls.client = openai.OpenAI(base_url=cls.server.url, api_key="none", max_retries=0,
                                   timeout=600)
        cls.model = cls.client.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0, cls.server.lines
        cls.folder.cleanup()

    def create(self, **more):
        arguments = {"model": self.model, "messages": HELLO, "max_tokens": 12, "temperature": 0}
        return self.client.chat.completions.create(**(arguments | more))

    def test_lists_models(self):
        models = self.client.models.list().data
        self.assertEqual(len(models), 1)
        self.assertEqual(models[0].object, "model")
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("no-such-model")

    def test_answers(self):
        answer = self.create()
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertTrue(answer.choices[0].message.content)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertLessEqual(answer.usage.completion_tokens, 12)
        self.assertTrue(answer._request_id.startswith("req-"))
        self.check_bill(answer.usage)

    def check_bill(self, usage):
        """Every part of it: tokens, time, bytes by tag, joules with their method, money."""
        bill = usage.ration
        tokens = bill["tokens"]
        self.assertEqual({name: tokens[name] for name in ("prompt", "cached", "generated")},
                         {"prompt": usage.prompt_tokens,
                          "cached": usage.prompt_tokens_details.cached_tokens,
                          "generated": usage.completion_tokens})
        self.assertEqual(set(bill["ms"]), {"queue", "load", "prefill", "decode"})
        for name in ("prefill", "decode"):
            self.assertGreater(bill["ms"][name], 0, name)
        self.assertLessEqual(bill["peak_bytes"], 400_000_000)
        for tag in ("weights", "kv", "activations", "scratch"):
            self.assertGreater(bill["peak_bytes_by_tag"][tag], 0, tag)
        energy = bill["energy_j"]
        if energy is not None:  # a processor that no model knows
            self.assertTrue(0 < energy["low"] <= energy["best"] <= energy["high"])
            for name in ("method", "scope", "idle"):
                self.assertTrue(energy[name], name)
        computed = usage.total_tokens - tokens["cached"]
        self.assertAlmostEqual(bill["usd"], computed * 2e-6, places=12)
        self.assertIn(bill["stop_cause"], ("end", "tokens"))

    def test_streams_the_same_answer(self):
        whole = self.create().choices[0].message.content
        pieces, usage, finish = [], None, None
        for chunk in self.create(stream=True, stream_options={"include_usage": True}):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                finish = choice.finish_reason or finish
        self.assertEqual("".join(pieces), whole)
        self.assertIn(finish, ("stop", "length"))
        self.check_bill(usage)
        # The same prompt again: only its last token is read.
        self.assertEqual(usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens - 1)

    def test_logprobs(self):
        answer = self.create(logprobs=True, top_logprobs=2, max_tokens=4)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), answer.usage.completion_tokens)
        self.assertEqual(len(content[0].top_logprobs), 2)
        self.assertAlmostEqual(content[0].logprob, content[0].top_logprobs[0].logprob)

    def test_several_choices(self):
        answer = self.create(n=3, temperature=1, seed=1)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])
        self.assertGreater(len({choice.message.content for choice in answer.choices}), 1)

    def test_plain_completions(self):
        arguments = {"model": self.model, "max_tokens": 6, "temperature": 0}
        answer = self.client.completions.create(prompt="Once upon a", logprobs=2, **arguments)
        choice = answer.choices[0]
        self.assertEqual("".join(choice.logprobs.tokens), choice.text)
        self.assertEqual(len(choice.logprobs.top_logprobs[0]), 2)
        pieces = [chunk.choices[0].text for chunk in
                  self.client.completions.create(prompt="Once upon a", stream=True, **arguments)]
        self.assertEqual("".join(pieces), choice.text)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.completions.create(prompt="a", suffix="b", **arguments)
        self.assertEqual(caught.exception.param, "suffix")

    def test_cancels_in_mid_stream(self):
        stream = self.create(stream=True, max_tokens=900, extra_body={"ignore_eos": True})
        for count, _ in enumerate(stream):
            if count == 3:
                break
        self.assertEqual(self.server.health()["answers"]["active"], 1)
        begin = time.monotonic()
        stream.close()
        self.check_it_rests(begin)

    def check_it_rests(self, begin):
        """The server computes no more for the answer that was cancelled at `begin`."""
        self.assertTrue(self.server.wait_idle())
        seconds = time.monotonic() - begin
        before = self.server.cpu_seconds()
        time.sleep(1)
        spent = self.server.cpu_seconds() - before
        print(f"\nidle after {seconds:.3f} s, then {spent:.2f} s of CPU in 1 s", file=sys.stderr)
        self.assertLess(seconds, 10)
        self.assertLess(spent, 0.1)

    def test_cancels_a_task(self):
        async def ask():
            client = openai.AsyncOpenAI(base_url=self.server.url, api_key="none", max_retries=0)
            seen = asyncio.Event()

            async def read():
                async for _ in await client.chat.completions.create(
                        model=self.model, messages=HELLO, stream=True, max_tokens=900,
                        extra_body={"ignore_eos": True}):
                    seen.set()

            task = asyncio.create_task(read())
            await seen.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            begin = time.monotonic()
            await client.close()
            return begin

        self.check_it_rests(asyncio.run(ask()))

    def test_gives_up_on_a_timeout(self):
        with self.assertRaises(openai.APITimeoutError):
            self.create(max_tokens=900, extra_body={"ignore_eos": True}, timeout=0.5)
        self.assertTrue(self.server.wait_idle())

    def test_errors_are_of_the_right_class(self):
        for more, kind, code, param in (
            ({"temperature": -1}, openai.BadRequestError, "invalid_value", "temperature"),
            ({"n": 129}, openai.BadRequestError, "invalid_value", "n"),
            ({"extra_body": {"max_token": 1}}, openai.BadRequestError, "unknown_parameter",
             "max_token"),
            ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found", "model"),
            ({"messages": []}, openai.BadRequestError, "invalid_value", "messages"),
            ({"messages": [{"role": "user", "content": "word " * 2000}]}, openai.BadRequestError,
             "context_length_exceeded", "messages"),
            ({"response_format": {"type": "json_object"}}, openai.BadRequestError,
             "unsupported_parameter", "response_format"),
            ({"extra_body": {"ration": {"max_ms": 0}}}, openai.InternalServerError,
             "deadline_exceeded", "ration.max_ms"),
        ):
            for stream in (False, True):
                with self.subTest(more=more, stream=stream), self.assertRaises(kind) as caught:
                    self.create(stream=stream, **more)
                self.assertEqual(caught.exception.code, code)
                self.assertEqual(caught.exception.param, param)

    def test_together(self):
        texts = ["Name a colour.", "Count to five.", "What is a cat?"]
        together = [None] * len(texts)

        def ask(index):
            messages = [{"role": "user", "content": texts[index]}]
            together[index] = self.create(messages=messages).choices[0].message.content
            return together[index]

        alone = [ask(index) for index in range(len(texts))]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)


class Program(unittest.TestCase):
    def test_a_port_in_use_is_named(self):
        server = Server("--context", "256")
        try:
            port = server.url.split(":")[2].split("/")[0]
            second = subprocess.run([RATION, "serve", MODEL, "--port", port, "--context", "256"],
                                    capture_output=True, text=True, timeout=600, check=False)
            self.assertEqual(second.returncode, 1)
            self.assertIn(f"in use by ration (process {server.process.pid})", second.stderr)
        finally:
            self.assertEqual(server.stop(signal.SIGINT), 130)

    def test_stopping_cuts_an_answer_after_the_grace(self):
        server = Server("--context", "8192")
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=600)
        stream = client.chat.completions.create(
            model=client.models.list().data[0].id, messages=HELLO, stream=True,
            extra_body={"ignore_eos": True})
        next(iter(stream))
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        with self.assertRaises(openai.APIError):
            for _ in stream:
                pass
        self.assertEqual(server.wait(), 0)
        self.assertLess(time.monotonic() - begin, 30)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
