#!/usr/bin/env python3
"""Measures servers under load: streams that run side by side, and crowds of clients that do nothing.

    load.py --ration PATH [--peer LLAMA_SERVER] [--streams 1,4,8,16] [--rounds 3] [--answers 2]
            [--tokens 128] [--idle 0] [--threads N] [--out RESULT.json] MODEL

Each stream asks for several answers, one after the other, every prompt of its own (about 100
tokens); every answer has the same number of tokens, greedy, its end token ignored. Ration and
llama-server (same file, same threads, room for as many conversations) take turns. Printed are, each
the median over the rounds:

  tok/s        of all streams together, over the time from the first request to the last token
  first p50, p99   milliseconds from a request to its first piece of text
  ratio        Ration over llama-server: tokens a second, and how much sooner the first p99 is

With --idle N, Ration alone: eight streams as above, without and with N further clients of which a
third has asked once and is silent, a third sends its request and a third reads its answer at one
byte a second. Printed is what the streams lose, and how many of the N are still connected.
"""

import argparse
import json
import os
import selectors
import socket
import statistics
import threading
import time

from chat_client import (Server, ask, commands, free_port, long_prompt, percentile,
                         wait_until_ready)

PROMPT_WORDS = 70


def run_streams(port, streams, options, seed):
    """Everybody's tokens a second together, and milliseconds to each answer's first text."""
    firsts, tokens = [], [0] * streams

    def stream(index):
        for number in range(options.answers):
            begin = time.perf_counter()
            seen = []

            def on_text(_, seen=seen):
                if not seen:
                    seen.append(time.perf_counter())

            usage = ask(port, long_prompt(seed + index * 100 + number, PROMPT_WORDS),
                        options.tokens, on_text, ignore_eos=True)
            firsts.append((seen[0] - begin) * 1000)
            tokens[index] += usage["completion_tokens"]

    threads = [threading.Thread(target=stream, args=(i,)) for i in range(streams)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"streams": streams, "tok/s": sum(tokens) / (time.perf_counter() - begin),
            "tokens": sum(tokens), "first p50": percentile(firsts, 0.5),
            "first p99": percentile(firsts, 0.99)}


def measure(command, port, counts, options, seed):
    with Server(command, port) as server:
        wait_until_ready(server)
        ask(port, "Say hello.", 8, lambda _: True)
        return [run_streams(port, count, options, seed + count * 10_000) for count in counts]


class Crowd:
    """Clients that are connected and hardly do anything, on one thread."""

    def __init__(self, port, count):
        self.selector = selectors.DefaultSelector()
        self.stop = threading.Event()
        self.alive = 0
        self.clients = []
        body = json.dumps({"messages": [{"role": "user", "content": "x" * 2000}]})
        head = "{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
        for number in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
            client.connect(("127.0.0.1", port))
            kind = ("silent", "sender", "reader")[number % 3]
            send = b""
            if kind == "sender":
                client.sendall(head.format("POST /v1/chat/completions", len(body)).encode())
                send = body.encode()
            else:
                path = "GET /health" if kind == "silent" else "GET /metrics"
                client.sendall(head.format(path, 0).encode())
            self.clients.append([client, kind, send])
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        for client, _, _ in self.clients:
            client.setblocking(False)
        while not self.stop.wait(1):
            for one in self.clients:
                if one[0] is not None and not self.touch(one):
                    one[0].close()
                    one[0] = None
        self.alive = sum(one[0] is not None for one in self.clients)

    @staticmethod
    def touch(one):
        """One byte, in the direction of its kind; whether it is still connected."""
        client, kind, send = one
        try:
            if kind == "sender" and send:
                one[2] = send[client.send(send[:1]):]
                return True
            return client.recv(1 if kind == "reader" else 65536) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def end(self):
        self.stop.set()
        self.thread.join()
        for client, _, _ in self.clients:
            if client is not None:
                client.close()


def crowd_round(options, seed):
    port = free_port()
    command = commands(options, port, 10, options.tokens + 1024)["ration"]
    with Server(command + ["--connections-max", options.idle + 64], port) as server:
        wait_until_ready(server)
        ask(port, "Say hello.", 8, lambda _: True)
        alone = run_streams(port, 8, options, seed)
        crowd = Crowd(port, options.idle)
        among = run_streams(port, 8, options, seed + 1000)
        crowd.end()
        again = run_streams(port, 8, options, seed + 2000)
    before = (alone["tok/s"] + again["tok/s"]) / 2
    return {"alone": before, "among": among["tok/s"], "loss": 1 - among["tok/s"] / before,
            "held": crowd.alive, "of": options.idle}


def crowd(options):
    rounds = [crowd_round(options, 1_000_000 * n) for n in range(options.rounds)]
    for one in rounds:
        print(f"8 streams: {one['alone']:.1f} tok/s alone, {one['among']:.1f} among {one['of']} "
              f"others ({one['loss']:.1%} less); {one['held']} of them held")
    return {"crowd": rounds}


def load(options):
    counts = [int(count) for count in options.streams.split(",")]
    results = {}
    for number in range(options.rounds):
        port = free_port()
        both = list(commands(options, port, max(counts), options.tokens + 1024).items())
        for name, command in both if number % 2 == 0 else reversed(both):
            results.setdefault(name, []).append(
                measure(command, port, counts, options, 1_000_000 * number))
    print(f"{'':14}{'streams':>8}{'tok/s':>9}{'first p50':>11}{'first p99':>11}")
    medians = {}
    for name, rounds in results.items():
        for i, count in enumerate(counts):
            row = [statistics.median(r[i][key] for r in rounds)
                   for key in ("tok/s", "first p50", "first p99")]
            medians[name, count] = row
            print(f"{name:14}{count:8}{row[0]:9.1f}{row[1]:11.0f}{row[2]:11.0f}")
    for count in counts if len(results) == 2 else ():
        ours, theirs = medians["ration", count], medians["llama-server", count]
        print(f"{'ratio':14}{count:8}{ours[0] / theirs[0]:9.2f}{theirs[1] / ours[1]:11.2f}"
              f"{theirs[2] / ours[2]:11.2f}")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--ration", required=True)
    parser.add_argument("--peer")
    parser.add_argument("--streams", default="1,4,8,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--answers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out")
    options = parser.parse_args()
    results = crowd(options) if options.idle else load(options)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump({"model": os.path.basename(options.model), "threads": options.threads,
                       "tokens": options.tokens, "results": results}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
