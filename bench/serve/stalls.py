#!/usr/bin/env python3
"""Measures what running streams feel of long prompts: the time between two pieces of text.

    stalls.py --ration PATH [--peer LLAMA_SERVER] [--rounds 3] [--streams 4] [--prompts 3]
              [--prompt-words 2600] [--seconds 60] [--threads N] [--json] MODEL

Streams write all the time; at equal distances a prompt of about 4,000 tokens comes in and wants
eight tokens. Ration and llama-server (same file, same threads, room for as many sequences) take
turns. Printed are, each the median over the rounds:

  p50, p99, most   milliseconds between two events of a stream while prompts come
  first            seconds from such a prompt to its first token
  tok/s            of the streams together, over the whole round
"""

import argparse
import json
import os
import statistics
import threading
import time

from chat_client import Server, ask, commands, free_port, long_prompt, percentile, wait_until_ready


def one_round(port, options):
    gaps, firsts = [], []
    end = time.perf_counter() + options.seconds
    counts = [0] * options.streams

    def stream(index):
        number = 0
        while time.perf_counter() < end:
            last = None

            def on_text(_):
                nonlocal last
                now = time.perf_counter()
                if last is not None:
                    gaps.append((now - last) * 1000)
                last = now
                counts[index] += 1
                return now < end

            number += 1
            ask(port, f"Write story {index}.{number} about a river, as long as you can.", 2000,
                on_text)

    def prompts():
        for number in range(options.prompts):
            time.sleep(max(0, end - options.seconds * (1 - (number + 0.5) / (options.prompts + 1))
                           - time.perf_counter()))
            begin = time.perf_counter()
            seen = []
            ask(port, long_prompt(number, options.prompt_words), 8,
                lambda _, seen=seen: seen.append(time.perf_counter()))
            firsts.append(seen[0] - begin)

    threads = [threading.Thread(target=stream, args=(i,)) for i in range(options.streams)]
    threads.append(threading.Thread(target=prompts))
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"p50": percentile(gaps, 0.5), "p99": percentile(gaps, 0.99), "most": max(gaps),
            "first": statistics.median(firsts), "gaps": len(gaps),
            "tok/s": sum(counts) / (time.perf_counter() - begin)}


def measure(command, port, options):
    with Server(command, port) as server:
        wait_until_ready(server)
        ask(port, "Say hello.", 8, lambda _: True)
        return one_round(port, options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--ration", required=True)
    parser.add_argument("--peer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--prompt-words", type=int, default=2600)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for _ in range(options.rounds):
        port = free_port()
        for name, command in commands(options, port, options.streams + 2,
                                      options.prompt_words * 2 + 3000).items():
            results.setdefault(name, []).append(measure(command, port, options))
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'':14}{'p50 ms':>9}{'p99 ms':>9}{'most ms':>9}{'first s':>9}{'tok/s':>9}{'gaps':>8}")
    for name, rounds in results.items():
        row = [statistics.median(r[key] for r in rounds)
               for key in ("p50", "p99", "most", "first", "tok/s", "gaps")]
        print(f"{name:14}{row[0]:9.0f}{row[1]:9.0f}{row[2]:9.0f}{row[3]:9.1f}{row[4]:9.1f}"
              f"{row[5]:8.0f}")


if __name__ == "__main__":
    main()
