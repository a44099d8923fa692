#!/usr/bin/env python3
"""Measures what prompts that begin like earlier ones save: `ration serve` alone on the machine.

    prefix.py --ration PATH [--rounds 3] [--threads N] [--tokens 3000] [--json] MODEL

  second turn   a conversation of about so many tokens, then its next message: time to the first
                token by the bill and by the reader's clock, second turn over first. Must be < 5 %.
  restart       the same second turn by a server that was started after the first with
                --prefix-disk: time to the first token over the first turn's
  alternation   eight agents with prompts of their own ask in turns, three times round: how many
                prompt tokens are computed again. Must be one each, whose logits are wanted.

Exits with 1 where one of them is not so.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time

from chat_client import Server, ask, commands, free_port, wait_until_ready

AGENTS = 8
WORDS = ("river mountain sea stone window letter garden winter bridge engine paper music market "
         "shadow silver morning captain forest island memory doctor number candle harbour").split()


def ask_whole(port, messages, tokens):
    """The text, the usage, and seconds until its first piece."""
    pieces, first = [], []
    begin = time.perf_counter()

    def on_text(piece):
        if not pieces:
            first.append(time.perf_counter() - begin)
        pieces.append(piece)

    usage = ask(port, messages, tokens, on_text, ignore_eos=True)
    return "".join(pieces), usage, first[0]


def words(rng, count):
    return " ".join(rng.choice(WORDS) for _ in range(count))


def message(role, text):
    return {"role": role, "content": text}


def second_turn(port, rng, tokens):
    talk = [message("user", words(rng, tokens) + ". Say what this is about.")]
    text, first, clock_first = ask_whole(port, talk, 48)
    talk += [message("assistant", text), message("user", "Go on, please.")]
    _, second, clock_second = ask_whole(port, talk, 48)
    return {"prompt_tokens": [first["prompt_tokens"], second["prompt_tokens"]],
            "cached_tokens": second["prompt_tokens_details"]["cached_tokens"],
            "prefill_ms": [use["ration"]["ms"]["prefill"] for use in (first, second)],
            "first_token_s": [clock_first, clock_second]}


def restart(options, rng):
    """Seconds to the first token: of the first turn, and of the second after a restart."""
    talk = [message("user", words(rng, options.tokens) + ". Say what this is about.")]
    seconds, cached = [], 0
    with tempfile.TemporaryDirectory() as home:
        os.environ["RATION_HOME"] = home
        for _ in range(2):
            port = free_port()
            command = commands(options, port, AGENTS, options.tokens + 1024)["ration"]
            with Server(command + ["--prefix-disk", "8GB"], port) as server:
                wait_until_ready(server)
                ask_whole(port, [message("user", "Hello!")], 8)
                text, usage, first = ask_whole(port, talk, 48)
            seconds.append(first)
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            talk += [message("assistant", text), message("user", "Go on, please.")]
        del os.environ["RATION_HOME"]
    return {"first_token_s": seconds, "cached_tokens": cached,
            "prompt_tokens": usage["prompt_tokens"]}


def alternation(port, rng):
    agents = [[message("system", f"You are agent {i}. " + words(rng, 200)),
               message("user", words(rng, 30))] for i in range(AGENTS)]
    computed = []
    for turn in range(3):
        for agent in agents:
            _, usage, _ = ask_whole(port, agent, 40)
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
    parser.set_defaults(peer=None)
    options = parser.parse_args()
    rng = random.Random(5)
    port = free_port()
    command = commands(options, port, AGENTS, options.tokens + 1024)["ration"]
    with Server(command, port) as server:
        wait_until_ready(server)
        ask_whole(port, [message("user", "Hello!")], 8)
        turns = [second_turn(port, rng, options.tokens) for _ in range(options.rounds)]
        computed = alternation(port, rng)
    anew = restart(options, rng)
    by_bill = [turn["prefill_ms"][1] / turn["prefill_ms"][0] for turn in turns]
    by_clock = [turn["first_token_s"][1] / turn["first_token_s"][0] for turn in turns]
    passed = statistics.median(by_clock) < 0.05 and max(computed) == 1
    if options.json:
        print(json.dumps({"second_turn": turns, "alternation_computed": computed,
                          "restart": anew}))
    else:
        for turn in turns:
            print(f"second turn of {turn['prompt_tokens'][0]} tokens: {turn['cached_tokens']} of "
                  f"{turn['prompt_tokens'][1]} taken over, first token after "
                  f"{turn['first_token_s'][0]:.2f} s, then {turn['first_token_s'][1]:.3f} s")
        print(f"second over first: {100 * statistics.median(by_bill):.1f} % by the bill, "
              f"{100 * statistics.median(by_clock):.1f} % by the clock "
              f"({100 * min(by_clock):.1f} to {100 * max(by_clock):.1f} %)")
        print(f"after a restart: {anew['cached_tokens']} of {anew['prompt_tokens']} taken over, "
              f"first token after {anew['first_token_s'][0]:.2f} s, then "
              f"{anew['first_token_s'][1]:.3f} s")
        print(f"alternation over {AGENTS} prompts: {max(computed)} tokens computed again at most")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
