#!/usr/bin/env python3
"""Measures what speculation brings, beside llama.cpp's own on the same prompts.

    speculate.py --llama-bin DIR --ration PATH [--rounds 3] [--threads N] [--tokens 256]
                 [--search] [--prompts FILE...] [--out RESULT.json] MODEL.gguf...

The prompts of prompts/ ask to edit code and to summarise by quoting. Each is answered greedily by
four: Ration with and without speculation, llama-server with and without its n-gram speculation, one
after the other and in turns which goes first. Before any time counts, Ration's two answers must be
the same, token for token; whether llama.cpp's two are is written down. Figures are tokens a second
of decode alone. --search tries llama.cpp's kinds of n-gram speculation on one prompt of each sort
and goes on with the fastest; without it, the kind named by --llama-kind is used.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

import compare
import programs

PROMPTS = pathlib.Path(__file__).resolve().parent / "prompts"
# Each kind with its own defaults, and with shorter matches and drafts where it has such settings.
LLAMA_KINDS = {
    "ngram-simple": ["--spec-type", "ngram-simple"],
    "ngram-simple-4-8": ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", "4",
                         "--spec-ngram-simple-size-m", "8"],
    "ngram-simple-4-16": ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", "4",
                          "--spec-ngram-simple-size-m", "16"],
    "ngram-map-k": ["--spec-type", "ngram-map-k"],
    "ngram-map-k-4-8": ["--spec-type", "ngram-map-k", "--spec-ngram-map-k-size-n", "4",
                        "--spec-ngram-map-k-size-m", "8"],
    "ngram-map-k4v-4-8": ["--spec-type", "ngram-map-k4v", "--spec-ngram-map-k4v-size-n", "4",
                          "--spec-ngram-map-k4v-size-m", "8"],
    "ngram-mod": ["--spec-type", "ngram-mod"],
    "ngram-mod-8-16": ["--spec-type", "ngram-mod", "--spec-ngram-mod-n-match", "8",
                       "--spec-ngram-mod-n-min", "4", "--spec-ngram-mod-n-max", "16"],
    "ngram-cache": ["--spec-type", "ngram-cache"],
}
OFF = "off"


def ask_ration(arguments, model, prompt, speculate):
    words = [arguments.ration, "run", model, "--file", prompt, "--json", "--quiet",
             "--temperature", 0, "--max-tokens", arguments.tokens, "--threads", arguments.threads,
             "--context", arguments.context, "--speculate", speculate]
    if arguments.draft and speculate != OFF:
        words += ["--draft", arguments.draft]
    answer = json.loads(programs.run(words))
    tokens = answer["bill"]["tokens"]
    seconds = answer["bill"]["ms"]["decode"] / 1000
    return {"tokens": [token["id"] for token in answer["tokens"]],
            "rate": max(tokens["generated"] - 1, 1) / seconds,
            "drafted": tokens.get("drafted"), "accepted": tokens.get("accepted")}


@contextlib.contextmanager
def llama_server(arguments, model, words):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [arguments.llama_bin / "llama-server", "-m", model, "-t", arguments.threads,
               "-c", arguments.context, "-np", 1, "--port", port, "--cache-ram", 0, *words]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            if process.poll() is not None:
                sys.exit(f"speculate.py: {' '.join(map(str, command))} ended at once")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url + "/health", timeout=2)
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def ask_llama(arguments, url, prompt):
    body = {"messages": [{"role": "user", "content": prompt.read_text(encoding="utf-8")}],
            "temperature": 0, "max_tokens": arguments.tokens, "cache_prompt": False,
            "timings_per_token": False}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as response:
        answer = json.load(response)
    timings = answer["timings"]
    return {"text": answer["choices"][0]["message"]["content"],
            "rate": timings["predicted_per_second"],
            "drafted": timings.get("draft_n"), "accepted": timings.get("draft_n_accepted")}


def search(arguments, model):
    """The fastest of llama.cpp's kinds for this model, and every kind's tokens a second."""
    chosen = [next(p for p in arguments.prompts if p.name.startswith(sort))
              for sort in ("edit", "quote") if any(p.name.startswith(sort)
                                                   for p in arguments.prompts)]
    rates = {}
    for kind, words in LLAMA_KINDS.items():
        with llama_server(arguments, model, words) as url:
            answers = [ask_llama(arguments, url, prompt) for prompt in chosen]
        rates[kind] = round(statistics.geometric_mean(a["rate"] for a in answers), 3)
        print(f"  llama.cpp {kind}: {rates[kind]:.2f} tokens/s", flush=True)
    return max(rates, key=rates.get), rates


def measure(arguments, model, prompt, urls, forward):
    order = [("ration", "auto"), ("llama", "on"), ("ration", OFF), ("llama", OFF)]
    found = {}
    for who, how in order if forward else reversed(order):
        found[f"{who} {'off' if how == OFF else 'on'}"] = (
            ask_ration(arguments, model, prompt, how) if who == "ration"
            else ask_llama(arguments, urls[how], prompt))
    if found["ration on"]["tokens"] != found["ration off"]["tokens"]:
        sys.exit(f"speculate.py: {prompt.name}: the answer with speculation is another one")
    found["llama on"]["same"] = found["llama on"].pop("text") == found["llama off"].pop("text")
    for how in ("on", "off"):
        found[f"ration {how}"]["tokens"] = len(found[f"ration {how}"]["tokens"])
    return found


def compare_model(arguments, model):
    rates = {}
    kind = arguments.llama_kind
    if arguments.search:
        kind, rates = search(arguments, model)
    entry = {"model": model.name, "sha256": compare.sha256(model), "llama_kind": kind,
             "llama_words": LLAMA_KINDS[kind], "llama_kinds": rates, "prompts": {}}
    with llama_server(arguments, model, LLAMA_KINDS[kind]) as on, \
            llama_server(arguments, model, []) as off:
        for prompt in arguments.prompts:
            rounds = []
            for number in range(arguments.rounds):
                found = measure(arguments, model, prompt, {"on": on, OFF: off}, number % 2 == 0)
                found["load_average"] = os.getloadavg()[0]
                rounds.append(found)
            entry["prompts"][prompt.stem] = ratios(rounds) | {"rounds": rounds}
            print(f"  {prompt.stem}: " + line(entry["prompts"][prompt.stem]), flush=True)
    for name in ("own", "peer", "peer_own"):
        medians = [figures[name]["median"] for figures in entry["prompts"].values()]
        entry[name] = round(statistics.geometric_mean(medians), 3)
    print(f"  all: {entry['own']:.2f} times Ration without, {entry['peer']:.2f} times llama.cpp with "
          f"{kind} (which is {entry['peer_own']:.2f} times itself without)", flush=True)
    return entry


def ratios(rounds):
    def of(one, other):
        return compare.summary([r[one]["rate"] / r[other]["rate"] for r in rounds])
    return {"own": of("ration on", "ration off"), "peer": of("ration on", "llama on"),
            "peer_own": of("llama on", "llama off")}


def line(figures):
    last = figures["rounds"][-1]
    own, peer = figures["own"], figures["peer"]
    return (f"{last['ration on']['rate']:.1f} tokens/s with, {last['ration off']['rate']:.1f} "
            f"without: {own['median']:.2f} ({own['least']:.2f} to {own['most']:.2f}), "
            f"{last['ration on']['accepted']} of {last['ration on']['drafted']} kept; llama.cpp "
            f"{last['llama on']['rate']:.1f}, {last['llama off']['rate']:.1f}; beside it "
            f"{peer['median']:.2f} ({peer['least']:.2f} to {peer['most']:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-bin", required=True, type=pathlib.Path,
                        help="the folder with llama-server")
    parser.add_argument("--ration", required=True, type=pathlib.Path, help="the ration program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=256, help="most tokens of an answer")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--draft", type=pathlib.Path, help="a draft model for Ration")
    parser.add_argument("--llama-kind", choices=list(LLAMA_KINDS), default="ngram-simple-4-8")
    parser.add_argument("--search", action="store_true", help="find llama.cpp's fastest kind first")
    parser.add_argument("--prompts", nargs="+", type=pathlib.Path,
                        default=sorted(PROMPTS.glob("*.txt")))
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON goes")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    result = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
              "machine": compare.describe_machine(), "threads": arguments.threads,
              "tokens": arguments.tokens, "models": []}
    for model in arguments.models:
        print(model.name, flush=True)
        result["models"].append(compare_model(arguments, model))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
