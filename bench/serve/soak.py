#!/usr/bin/env python3
"""Half an hour of everything at once: does `ration serve` stay right, alive and as small as it was?

    soak.py --ration PATH [--minutes 30] [--clients 8] [--threads N] [--growth 0.02]
            [--serve "--memory 2GB ..."] [--out RESULT.json] MODEL...

Clients pick at random: a greedy answer, whole or streamed, which must be the same text as when the
model was asked alone at the beginning; a stream that is left in the middle; a request that is left
before it is whole; a body with bytes changed, which must be answered with its refusal or an answer.
Several models are asked in turns, so that they are swapped where the memory holds only some. Every
few seconds the server gets SIGHUP. It runs with --reproducible and without a prefix cache, so that
at the end all keys and values must be given back.

Fails (exit code 1) on a wrong text, a status above 500 but 503, an answer that breaks off, resident
memory that grows by more than --growth from the third tenth of the time to the last, or bytes of
answers (kv, io) that are still taken when all clients have gone.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import re
import shlex
import signal
import sys
import threading
import time

from chat_client import Server, free_port, wait_until_ready

PROMPTS = ["Name three rivers.", "Write a line about winter.", "def add(a, b):",
           "What is a budget?", "Count to ten in words.", "Say something about bridges and " * 40]
PATHS = ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/completions", "/v1/responses"]


class Soak:
    def __init__(self, port, models):
        self.port = port
        self.models = models
        self.alone = {}  # (model, prompt, tokens) -> text
        self.counts = {}
        self.faults = []
        self.lock = threading.Lock()

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def fault(self, what):
        with self.lock:
            self.faults.append(what)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def body(self, model, prompt, tokens, stream):
        return {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0,
                "max_tokens": tokens, "stream": stream}

    def post(self, body, path=PATHS[0]):
        connection = self.connect()
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, text, {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def text(self, model, prompt, tokens, stream):
        connection, answer = self.post(self.body(model, prompt, tokens, stream))
        read = answer.read().decode()
        connection.close()
        if answer.status != 200:
            return answer.status, read
        if not stream:
            return 200, json.loads(read)["choices"][0]["message"]["content"] or ""
        events = re.findall(r"^data: (.*)$", read, re.MULTILINE)
        if not events or events[-1] != "[DONE]":
            return 200, "a stream without its end: " + read[-200:]
        return 200, "".join(choice["delta"].get("content") or ""
                            for event in events[:-1] for choice in json.loads(event)["choices"])

    def ask_alone(self):
        for model in self.models:
            for prompt in PROMPTS:
                for tokens in (8, 40):
                    status, text = self.text(model, prompt, tokens, False)
                    if status != 200:
                        sys.exit(f"{model} answered {status}: {text}")
                    self.alone[model, prompt, tokens] = text

    # What clients do.

    def answer(self, rng):
        key = rng.choice(list(self.alone))
        status, text = self.text(*key, rng.random() < 0.5)
        if status == 503:
            return self.count("503")
        self.count("answers")
        if status != 200:
            return self.fault(f"{status} for {key[0]}: {text}")
        if text != self.alone[key]:
            return self.fault(f"{key}: wanted {self.alone[key]!r}, found {text!r}")
        return None

    def leave_stream(self, rng):
        connection, answer = self.post(self.body(rng.choice(self.models), rng.choice(PROMPTS), 200,
                                                 True))
        for _ in range(rng.randrange(6)):
            answer.readline()
        answer.close()
        connection.close()
        self.count("streams left")

    def leave_request(self, rng):
        connection = self.connect()
        connection.connect()
        text = json.dumps(self.body(rng.choice(self.models), rng.choice(PROMPTS), 20, True))
        head = f"POST {PATHS[0]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n"
        connection.sock.sendall((head + text)[:rng.randrange(len(head + text))].encode())
        connection.close()
        self.count("requests left")

    def spoil(self, rng):
        text = bytearray(json.dumps(self.body(rng.choice(self.models), rng.choice(PROMPTS), 4,
                                              rng.random() < 0.5)).encode())
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        connection, answer = self.post(bytes(text), rng.choice(PATHS))
        read = answer.read()
        connection.close()
        self.count(f"spoilt {answer.status}")
        if answer.status >= 500 and answer.status not in (503, 504):
            self.fault(f"{answer.status} for {bytes(text)!r}: {read!r}")

    def client(self, seed, end):
        rng = random.Random(seed)
        while time.monotonic() < end:
            act = rng.choices([self.answer, self.leave_stream, self.leave_request, self.spoil],
                              [10, 2, 1, 3])[0]
            try:
                act(rng)
            except (OSError, http.client.HTTPException) as error:
                self.fault(f"{act.__name__}: {error!r}")
            time.sleep(rng.random() * 0.02)

    def metrics(self):
        connection = self.connect()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return {kind: float(value) for kind, value in
                re.findall(r'^ration_memory_bytes\{kind="(\w+)"[^}]*\} (\S+)$', text, re.MULTILINE)}


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return {name: int(re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE).group(1)) * 1024
            for name in ("VmRSS", "RssAnon", "VmHWM")}


def growth_of(sizes):
    """Of the resident memory from the third tenth to the last, in shares of it, or of 64 MiB."""
    tenth = max(1, len(sizes) // 10)
    early = max(sizes[2 * tenth:3 * tenth] or sizes)
    return (max(sizes[-tenth:]) - early) / max(early, 64 << 20), early


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--ration", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--growth", type=float, default=0.02)
    parser.add_argument("--serve", default="")
    parser.add_argument("--out")
    options = parser.parse_args()
    port = free_port()
    command = [options.ration, "serve", *options.models, "--port", port, "--quiet", "--threads",
               options.threads, "--sequences-max", 6, "--context", 1024, "--reproducible",
               "--prefix-cache", 0, *shlex.split(options.serve)]
    with Server(command, port) as server:
        wait_until_ready(server)
        names = [one["id"] for one in json.loads(server.request("GET", "/v1/models")[1])["data"]]
        soak = Soak(port, names)
        soak.ask_alone()
        end = time.monotonic() + options.minutes * 60
        clients = [threading.Thread(target=soak.client, args=(seed, end))
                   for seed in range(options.clients)]
        for client in clients:
            client.start()
        sizes = []
        while time.monotonic() < end:
            time.sleep(1)
            if server.process.poll() is not None:
                sys.exit(f"the server ended with {server.process.returncode}")
            sizes.append(resident(server.process.pid)["VmRSS"])
            if len(sizes) % 5 == 0:
                server.process.send_signal(signal.SIGHUP)
        for client in clients:
            client.join()
        time.sleep(2)
        left = {kind: value for kind, value in soak.metrics().items()
                if kind in ("kv", "prefix", "io") and value > 0}
        peak = resident(server.process.pid)["VmHWM"]
    if server.process.returncode != 130:  # as after Ctrl-C; a sanitizer that found something: 66
        soak.fault(f"the server ended with {server.process.returncode}")
    growth, early = growth_of(sizes)
    result = {"minutes": options.minutes, "models": names, "counts": soak.counts,
              "faults": soak.faults[:20], "faults_count": len(soak.faults), "left_bytes": left,
              "resident_bytes": early, "growth": growth,
              "resident_bytes_over_time": sizes[::max(1, len(sizes) // 20)], "peak_resident_bytes": peak}
    print(json.dumps(result, indent=1))
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if not soak.faults and not left and growth < options.growth else 1


if __name__ == "__main__":
    sys.exit(main())
