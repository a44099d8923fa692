"""`ration serve` as a process: two users, clients that vanish, signals, and a model file that is
deleted, changed or truncated under it. On a tiny model, with the standard library only.

    serving_test.py PROGRAM FOLDER_OF_TINY_MODELS
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "app"))

import program  # noqa: E402
from program import ProgramTest, TINY  # noqa: E402

DONE, FAILED, BAD_FILE, INTERRUPTED = 0, 1, 4, 130
CHAT = "/v1/chat/completions"


def body_of(text, tokens, **more):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "ignore_eos": True,
            "max_tokens": tokens, **more}


class Server:
    """`ration serve` on a free port. One thread computes, so that order is the same anywhere."""

    def __init__(self, test, model=None, words=(), environment=None):
        self.process = subprocess.Popen(
            [program.PROGRAM, "serve", model or TINY / "qwen2.gguf", "--port", "0", "--threads",
             "1", "--context", "1024", *map(str, words)],
            cwd=test.home, env=test.environment(**(environment or {})), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.test = test
        test.addCleanup(self.kill)
        line = self.process.stdout.readline()
        found = re.search(r"answers at http://127\.0\.0\.1:(\d+)/v1", line)
        if not found:
            test.fail(line + self.process.communicate()[1])
        self.port = int(found.group(1))
        self.watch = self.connect()  # stays open, so that looking changes nothing

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        """Exit code and what was said on standard error."""
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.test.addCleanup(connection.close)
        return connection

    def ask(self, path, body):
        connection = self.connect()
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        status, text = answer.status, answer.read()
        connection.close()
        return status, json.loads(text)

    def chat(self, text, tokens, **more):
        return self.ask(CHAT, body_of(text, tokens, **more))

    def text(self, text, tokens):
        status, answer = self.chat(text, tokens)
        assert status == 200, answer
        return answer["choices"][0]["message"]["content"]

    def health(self):
        self.watch.request("GET", "/health")
        return json.loads(self.watch.getresponse().read())

    def begin(self, text, tokens):
        """A stream whose head has come."""
        connection = self.connect()
        connection.request("POST", CHAT, json.dumps(body_of(text, tokens, stream=True)))
        answer = connection.getresponse()
        self.test.addCleanup(answer.close)
        assert answer.status == 200, answer.read()
        return answer

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def becomes(self, condition):
        end = time.monotonic() + 60
        while not condition(self.health()):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def is_idle(self):
        return self.becomes(lambda health: health["connections"] == 1 and
                            health["answers"] == {"active": 0, "waiting": 0})


def rest_of(stream):
    """The events that are left, and whether the stream was ended or broken off."""
    try:
        text, ended = stream.read().decode(), True
    except http.client.IncompleteRead as cut:
        text, ended = cut.partial.decode(), False
    except ConnectionError:
        text, ended = "", False
    data = re.findall(r"^data: (.*)$", text, re.MULTILINE)
    return [None if item == "[DONE]" else json.loads(item) for item in data], ended


class Metrics(ProgramTest):
    """GET /metrics in the words of Prometheus' text format."""

    LINE = re.compile(r'(\w+)(\{(?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (\S+)$')

    def read(self, server):
        server.watch.request("GET", "/metrics")
        answer = server.watch.getresponse()
        text = answer.read().decode()
        self.assertEqual(answer.getheader("content-type"),
                         "text/plain; version=0.0.4; charset=utf-8")
        kinds, found = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                kinds[name] = kind
                continue
            if line.startswith("# HELP "):
                continue
            matched = self.LINE.match(line)
            self.assertIsNotNone(matched, line)
            name, labels, value = matched.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            self.assertIn(kinds.get(name) or kinds.get(base), ("counter", "gauge", "histogram"), line)
            self.assertNotIn((name, labels), found)
            found[name, labels] = float(value)
        return found

    def test_count_what_was_answered_refused_and_left(self):
        server = Server(self, words=("--prefix-cache", 0))
        model = '{model="qwen2"}'
        path = 'path="/v1/chat/completions"'
        self.assertEqual(self.read(server).get(("ration_ttft_seconds_count", model)), None)
        server.text("hello", 5)
        self.assertEqual(server.chat("hello", 5, temperature=-1)[0], 400)
        leaver = server.connect()
        leaver.request("POST", CHAT, json.dumps(body_of("hello", 900, stream=True)))
        stream = leaver.getresponse()
        stream.close()
        leaver.close()
        self.assertTrue(server.is_idle())
        found = self.read(server)
        self.assertEqual(
            found["ration_requests_total", '{model="qwen2",%s,code="200"}' % path], 1)
        self.assertEqual(
            found["ration_requests_total", '{model="qwen2",%s,code="400"}' % path], 1)
        self.assertEqual(
            found["ration_requests_broken_off_total", '{model="qwen2",%s}' % path], 1)
        self.assertEqual(found["ration_generated_tokens_total", model], 5)
        self.assertEqual(found["ration_e2e_seconds_count", model], 1)
        self.assertGreaterEqual(found["ration_ttft_seconds_count", model], 1)
        self.assertGreaterEqual(found["ration_inter_token_seconds_count", model], 4)
        self.assertGreater(found["ration_memory_bytes", '{kind="weights"}'], 0)
        self.assertEqual(found["ration_memory_bytes", '{kind="kv"}'], 0)
        self.assertEqual(found["ration_answers_active", None], 0)
        buckets = [value for (name, _), value in found.items()
                   if name == "ration_ttft_seconds_bucket"]
        self.assertEqual(buckets, sorted(buckets))


    def test_top_shows_them(self):
        server = Server(self)
        server.text("hello", 5)
        url = f"127.0.0.1:{server.port}"
        shown = self.run_program("top", url)
        self.assertEqual(shown.code, DONE, shown.err)
        self.assertRegex(shown.out, rf"^ration at http://{url}, up \d+ s: qwen2\nmemory ")
        self.assertRegex(shown.out, r"\nrequests  200: 1; left before the end: 0\n$")
        self.assertRegex(shown.out, r"first token [\d.]+ m?s / [\d.]+ m?s, between tokens")
        server.stop()
        self.assertEqual(self.run_program("top", url).code, 5)

    def test_the_board_and_the_table_of_names_are_the_servers(self):
        root = pathlib.Path(__file__).resolve().parents[2]
        server = Server(self)
        server.watch.request("GET", "/metrics")
        text = server.watch.getresponse().read().decode()
        told = set(re.findall(r"^# TYPE (\w+) ", text, re.M))
        board = (root / "examples/grafana-board.json").read_text()
        asked = {re.sub(r"_bucket$", "", name) for name in re.findall(r"\b(ration_\w+)", board)}
        self.assertGreater(len(asked), 12)
        self.assertLessEqual(asked, told)
        listed = set(re.findall(r"`(ration_\w+)`", (root / "docs/metrics.md").read_text()))
        self.assertEqual(listed, told)


class ServiceManager(ProgramTest):
    """As systemd starts it: a socket that listens already, and a place to say that it is ready."""

    def start(self, count=1, kind=socket.SOCK_STREAM):
        listening = socket.socket(socket.AF_INET, kind)
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            listening.listen()
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(self.home / "notify"))
        manager.settimeout(60)
        # The shell that becomes the program has the process id that LISTEN_PID asks for.
        script = f'exec 3<&{listening.fileno()}; LISTEN_PID=$$ LISTEN_FDS={count} exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", program.PROGRAM, "serve", TINY / "qwen2.gguf", "--threads",
             "1", "--context", "256"],
            cwd=self.home, env=self.environment(NOTIFY_SOCKET=str(self.home / "notify")),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            pass_fds=[listening.fileno()])
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process, listening.getsockname()[1], manager

    def test_serves_on_the_socket_it_was_given_and_says_when_it_is_ready(self):
        process, port, manager = self.start()
        said = manager.recv(1000).decode()
        self.assertTrue(said.startswith("READY=1\nSTATUS=qwen2 answers at "), said)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.addCleanup(connection.close)
        connection.request("GET", "/health")
        self.assertEqual(json.loads(connection.getresponse().read())["status"], "ok")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, DONE)

    def test_refuses_what_is_no_listening_socket(self):
        for options, wanted in [({"count": 2}, "found 2 sockets from the service manager, wanted one"),
                                ({"kind": socket.SOCK_DGRAM}, "not TCP and listening")]:
            process, _, manager = self.start(**options)
            _, err = process.communicate(timeout=60)
            self.assertIn(wanted, err)
            self.assertEqual(process.returncode, 2)
            manager.close()
            (self.home / "notify").unlink()


class Together(ProgramTest):
    def test_two_users_at_once_get_what_they_would_get_alone(self):
        server = Server(self)
        asked = ["What is a cat?", "Tell me of rivers, mountains and the sea."]
        alone = [server.text(text, 400) for text in asked]
        together = [None, None]

        def ask(index):
            together[index] = server.text(asked[index], 400)

        most = 0
        for _ in range(20):
            users = [threading.Thread(target=ask, args=(index,)) for index in range(2)]
            for user in users:
                user.start()
            while any(user.is_alive() for user in users):
                most = max(most, server.health()["answers"]["active"])
            for user in users:
                user.join()
            self.assertEqual(together, alone)
            if most == 2:
                break
        self.assertEqual(most, 2)
        self.assertEqual(server.stop()[0], DONE)

    def test_fifty_that_vanish_leave_no_thread_block_or_file(self):
        server = Server(self, words=("--prefix-cache", 0))
        server.text("warm", 3)
        self.assertTrue(server.is_idle())
        before = (server.threads(), server.descriptors(), server.health()["memory"]["used_bytes"])
        body = json.dumps(body_of("go", 900, stream=True))
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        stages = ["", "POST /v1/ch", head, head + body[:20], head + body, head + body]
        clients = []
        for index in range(50):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            client.sendall(stages[index % 6].encode())
            if index % 6 == 5:
                client.recv(1)  # goes in mid-stream
            clients.append(client)
            if index % 4 == 3:
                clients.pop(0).close()
        for client in clients:
            client.close()
        self.assertTrue(server.is_idle())
        after = (server.threads(), server.descriptors(), server.health()["memory"]["used_bytes"])
        print(f"\nthreads, descriptors, bytes before {before} and after {after}", file=sys.stderr)
        self.assertEqual(after, before)
        self.assertEqual(server.stop()[0], DONE)


class Refusals(ProgramTest):
    def test_before_the_first_byte_and_with_the_numbers(self):
        server = Server(self, words=("--memory", "40MB"))
        for stream in (False, True):
            status, answer = server.chat("q" * 5000, 5, stream=stream)
            error = answer["error"]
            self.assertEqual((status, error["code"]), (400, "context_length_exceeded"))
            self.assertEqual(error["available_tokens"], 1024)
            self.assertIn(f"{error['needed_tokens']} tokens", error["message"])
            self.assertIn("1024", error["message"])
            # More than a megabyte is read and weighed, not cut.
            status, answer = server.chat("q" * 1_200_000, 5, stream=stream)
            self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))
            self.assertGreater(answer["error"]["needed_tokens"], 1_000_000)
            # More than the whole budget: so many bytes, of so many.
            status, answer = server.chat("q" * 9_000_000, 5, stream=stream)
            self.assertEqual((status, answer["error"]["code"]), (400, "insufficient_memory"))
            self.assertGreater(answer["error"]["needed_bytes"], 40_000_000)
            status, answer = server.chat("hi", 5, stream=stream, max_token=3)
            self.assertEqual((status, answer["error"]["param"]), (400, "max_token"))
            self.assertIn("max_tokens", answer["error"]["message"])
        self.assertEqual(server.stop()[0], DONE)

    def test_a_port_in_use_is_named_with_its_owner(self):
        server = Server(self)
        self.refuses(FAILED, rf"port is in use by ration \(process {server.process.pid}\)", "serve",
                     TINY / "qwen2.gguf", "--port", server.port)
        self.assertEqual(server.text("still here", 3), server.text("still here", 3))


class Bill(ProgramTest):
    def test_every_field(self):
        config = self.home / "config.toml"
        config.write_text("[tariff]\nusd_per_million_tokens = 1000000\n")
        server = Server(self, words=("--config", config, "--memory", "60MB"))
        status, answer = server.chat("hello", 7)
        self.assertEqual(status, 200, answer)
        usage, bill = answer["usage"], answer["usage"]["ration"]
        tokens = bill["tokens"]
        self.assertEqual({name: tokens[name] for name in ("prompt", "cached", "generated")},
                         {"prompt": usage["prompt_tokens"], "cached": 0, "generated": 7})
        self.assertLessEqual(tokens["accepted"], tokens["drafted"])
        self.assertEqual(set(bill["ms"]), {"queue", "load", "prefill", "decode"})
        self.assertGreater(bill["ms"]["prefill"] + bill["ms"]["decode"], 0)
        self.assertGreaterEqual(bill["peak_bytes"], bill["peak_bytes_by_tag"]["weights"])
        self.assertLessEqual(bill["peak_bytes"], 60_000_000)
        for tag in ("weights", "kv", "activations", "scratch"):
            self.assertGreater(bill["peak_bytes_by_tag"][tag], 0, tag)
        if bill["energy_j"] is not None:
            energy = bill["energy_j"]
            self.assertTrue(0 <= energy["low"] <= energy["best"] <= energy["high"])
            for word in ("method", "scope", "idle"):
                self.assertTrue(energy[word], word)
        self.assertEqual(bill["usd"], usage["total_tokens"])
        self.assertEqual(bill["net_bytes"], 0)
        self.assertEqual(bill["stop_cause"], "tokens")
        self.assertEqual(server.stop()[0], DONE)


class ModelFile(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.home / "model.gguf"
        shutil.copyfile(TINY / "qwen2.gguf", self.model)

    def test_deleted_it_goes_on(self):
        server = Server(self, self.model)
        before = server.text("hello", 20)
        self.model.unlink()
        self.assertEqual(server.text("hello", 20), before)
        self.assertEqual(server.stop()[0], DONE)

    def test_changed_it_is_refused_at_the_next_request(self):
        server = Server(self, self.model)
        server.text("hello", 5)
        for change in ("touched", "replaced", "truncated"):
            if change == "touched":
                os.utime(self.model, (1, 1))
            elif change == "replaced":
                shutil.copyfile(TINY / "qwen2.gguf", self.home / "new")
                os.replace(self.home / "new", self.model)
            else:
                os.truncate(self.model, 4096)
            for stream in (False, True):
                status, answer = server.chat("hello", 5, stream=stream)
                self.assertEqual((status, answer["error"]["code"]), (503, "model_changed"), change)
                self.assertIn("model.gguf", answer["error"]["message"])
                self.assertIn("restart", answer["error"]["message"])
        self.assertEqual(server.health()["status"], "ok")
        self.assertEqual(server.stop()[0], DONE)

    def test_truncated_in_mid_answer_it_ends_with_clear_words(self):
        server = Server(self, self.model, environment={"RATION_ISA": "reference"})
        streams = [server.begin(f"question {index}", 900) for index in range(12)]
        os.truncate(self.model, 4096)
        self.assertEqual([rest_of(stream)[1] for stream in streams], [False] * 12)
        code, err = server.wait()
        self.assertEqual(code, BAD_FILE, err)
        self.assertRegex(err, r"error: \S+model\.gguf was truncated while in use")


class Signals(ProgramTest):
    def test_an_idle_server_ends_at_once(self):
        for number, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, DONE)):
            server = Server(self)
            server.text("hello", 3)
            begin = time.monotonic()
            self.assertEqual(server.stop(number)[0], code)
            self.assertLess(time.monotonic() - begin, 30)

    def test_an_answer_under_way_gets_the_grace(self):
        server = Server(self)
        stream = server.begin("hello", 900)
        server.process.send_signal(signal.SIGTERM)
        events, ended = rest_of(stream)
        self.assertTrue(ended)
        self.assertEqual(events[-2]["choices"][0]["finish_reason"], "length")
        self.assertIsNone(events[-1])
        self.assertEqual(server.wait()[0], DONE)

    def test_a_second_signal_breaks_answers_off_with_an_error(self):
        server = Server(self, environment={"RATION_ISA": "reference"})
        streams = [server.begin(f"question {index}", 900) for index in range(12)]
        server.process.send_signal(signal.SIGINT)
        # The first one has been seen when nobody can connect any more.
        end = time.monotonic() + 60
        with self.assertRaises(ConnectionError):
            while time.monotonic() < end:
                socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
        server.process.send_signal(signal.SIGINT)
        for stream in streams:
            events, ended = rest_of(stream)
            self.assertFalse(ended)
            self.assertEqual(events[-1]["error"]["code"], "stopping")
        self.assertEqual(server.wait()[0], INTERRUPTED)


if __name__ == "__main__":
    program.main()
