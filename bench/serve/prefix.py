#!/usr/bin/env python3
"""Measures what prompts that begin like earlier ones save: `ration serve` alone on the machine.

    prefix.py --ration PATH [--rounds 3] [--threads N] [--tokens 3000] [--json] MODEL

  second turn   a conversation of about so many tokens, then its next message: time to the first
                token by the bill and by the reader's clock, second turn over first. Must be < 5 %.
  alternation   eight agents with prompts of their own ask in turns, three times round: how many
                prompt tokens are computed again. Must be one each, whose logits are wanted.

Exits with 1 where one of them is not so.
"""

import argparse
import http.client
import json
import random
import re
import statistics
import subprocess
import sys
import time

AGENTS = 8
WORDS = ("river mountain sea stone window letter garden winter bridge engine paper music market "
         "shadow silver morning captain forest island memory doctor number candle harbour").split()


class Server:
    """`ration serve` on a free port, for as long as the block."""

    def __init__(self, options):
        context = str(options.tokens + 1024)
        self.command = [options.ration, "serve", options.model, "--port", "0", "--context", context,
                        "--threads", str(options.threads), "--sequences-max", "8", "--quiet"]

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

    def ask(self, messages, tokens):
        """The text, the usage, and seconds until its first piece."""
        body = {"messages": messages, "temperature": 0, "stream": True, "max_tokens": tokens,
                "stream_options": {"include_usage": True}}
        begin = time.perf_counter()
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = self.connection.getresponse()
        if answer.status != 200:
            sys.exit(answer.read().decode())
        text, usage, first = "", None, None
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                piece = choice["delta"].get("content") or ""
                if piece and first is None:
                    first = time.perf_counter() - begin
                text += piece
        return text, usage, first


def words(rng, count):
    return " ".join(rng.choice(WORDS) for _ in range(count))


def message(role, text):
    return {"role": role, "content": text}


def second_turn(server, rng, tokens):
    talk = [message("user", words(rng, tokens) + ". Say what this is about.")]
    text, first, clock_first = server.ask(talk, 48)
    talk += [message("assistant", text), message("user", "Go on, please.")]
    _, second, clock_second = server.ask(talk, 48)
    return {"prompt_tokens": [first["prompt_tokens"], second["prompt_tokens"]],
            "cached_tokens": second["prompt_tokens_details"]["cached_tokens"],
            "prefill_ms": [use["ration"]["ms"]["prefill"] for use in (first, second)],
            "first_token_s": [clock_first, clock_second]}


def alternation(server, rng):
    agents = [[message("system", f"You are agent {i}. " + words(rng, 200)),
               message("user", words(rng, 30))] for i in range(AGENTS)]
    computed = []
    for turn in range(3):
        for agent in agents:
            _, usage, _ = server.ask(agent, 40)
            if turn > 0:
                cached = usage["prompt_tokens_details"]["cached_tokens"]
                computed.append(usage["prompt_tokens"] - cached)
    return computed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ration", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("model")
    options = parser.parse_args()
    rng = random.Random(5)
    with Server(options) as server:
        server.ask([message("user", "Hello!")], 8)
        turns = [second_turn(server, rng, options.tokens) for _ in range(options.rounds)]
        computed = alternation(server, rng)
    by_bill = [turn["prefill_ms"][1] / turn["prefill_ms"][0] for turn in turns]
    by_clock = [turn["first_token_s"][1] / turn["first_token_s"][0] for turn in turns]
    passed = statistics.median(by_clock) < 0.05 and max(computed) == 1
    if options.json:
        print(json.dumps({"second_turn": turns, "alternation_computed": computed}))
    else:
        for turn in turns:
            print(f"second turn of {turn['prompt_tokens'][0]} tokens: {turn['cached_tokens']} of "
                  f"{turn['prompt_tokens'][1]} taken over, first token after "
                  f"{turn['first_token_s'][0]:.2f} s, then {turn['first_token_s'][1]:.3f} s")
        print(f"second over first: {100 * statistics.median(by_bill):.1f} % by the bill, "
              f"{100 * statistics.median(by_clock):.1f} % by the clock "
              f"({100 * min(by_clock):.1f} to {100 * max(by_clock):.1f} %)")
        print(f"alternation over {AGENTS} prompts: {max(computed)} tokens computed again at most")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
