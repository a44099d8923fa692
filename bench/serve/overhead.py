#!/usr/bin/env python3
"""Measures what serving costs: the same answer from `ration run` and from `ration serve`.

    overhead.py --ration PATH [--rounds 9] [--threads N] [--tokens 256] [--json] MODEL

Each round asks both once, in turns who goes first, so that a machine that slows down slows both.
The server is alone on the machine while it answers, and sleeps while `run` does; with as many
threads as cores its own threads and the client, too, must find their time on busy cores. The answer
must be the same text. Printed are serve / run, median, least and most over the rounds, of

  decode   from the first token to the last: by run's bill; by the clock of the stream's reader
  whole    from the request to its end without loading: by run's bill; by the reader's clock
  engine   decode by both bills: what is left when HTTP is taken away
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time

PROMPT = "Write a long story about a river, a mountain and the sea."


class Server:
    """`ration serve` on a free port, for as long as the block."""

    def __init__(self, options):
        self.command = [options.ration, "serve", options.model, "--port", "0", "--context", "1024",
                        "--threads", str(options.threads), "--quiet"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        found = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        if not found:
            sys.exit("the server did not start")
        self.connection = http.client.HTTPConnection("127.0.0.1", int(found.group(1)), timeout=600)
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.terminate()
        self.process.wait()


def ask_serve(server, tokens):
    body = {"messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "stream": True,
            "max_tokens": tokens, "stream_options": {"include_usage": True}}
    begin = time.perf_counter()
    server.connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = server.connection.getresponse()
    if answer.status != 200:
        sys.exit(answer.read().decode())
    lines, first, last = [], None, None
    for line in answer:
        if b'"content":"' in line:
            last = time.perf_counter()
            first = first or last
        lines.append(line)
    end = time.perf_counter()
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    text = "".join(choice["delta"].get("content") or ""
                   for event in events for choice in event["choices"])
    bill = events[-1]["usage"]["ration"]
    return {"text": text, "decode": (last - first) * 1000, "whole": (end - begin) * 1000,
            "engine": bill["ms"]["decode"], "generated": bill["tokens"]["generated"]}


def ask_run(options):
    done = subprocess.run(
        [options.ration, "run", options.model, PROMPT, "--max-tokens", str(options.tokens),
         "--temperature", "0", "--threads", str(options.threads), "--context", "1024", "--json",
         "--quiet"], stdout=subprocess.PIPE, check=True)
    answer = json.loads(done.stdout)
    ms = answer["bill"]["ms"]
    return {"text": answer["text"], "decode": ms["decode"], "whole": ms["prefill"] + ms["decode"],
            "engine": ms["decode"], "generated": answer["bill"]["tokens"]["generated"]}


def measure(options):
    rounds = []
    with Server(options) as server:
        ask_serve(server, options.tokens)  # warm: the file's pages, the processor's clock
        for number in range(options.rounds):
            if number % 2:
                run, serve = ask_run(options), ask_serve(server, options.tokens)
            else:
                serve, run = ask_serve(server, options.tokens), ask_run(options)
            if serve.pop("text") != run.pop("text"):
                sys.exit("serve and run gave different answers")
            rounds.append({"serve": serve, "run": run})
    return rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--ration", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--json", action="store_true", help="print every figure")
    options = parser.parse_args()
    rounds = measure(options)
    if options.json:
        print(json.dumps(rounds))
        return
    print(f"{options.rounds} rounds of {rounds[0]['run']['generated']} tokens, "
          f"{options.threads} threads")
    for kind in ("decode", "whole", "engine"):
        ratios = [entry["serve"][kind] / entry["run"][kind] for entry in rounds]
        run = statistics.median(entry["run"][kind] for entry in rounds)
        serve = statistics.median(entry["serve"][kind] for entry in rounds)
        print(f"{kind:7} serve / run = {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f} to {max(ratios):.3f}); "
              f"medians {serve:.1f} and {run:.1f} ms")


if __name__ == "__main__":
    main()
