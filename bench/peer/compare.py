#!/usr/bin/env python3
"""Measures Ration beside llama.cpp: same file, same threads, in alternation.

    compare.py --llama-bin DIR --ration PATH [--rounds 5] [--threads N] [--prefill 128]
               [--decode 64] [--depth 0] [--out RESULT.json] MODEL.gguf...

Each round runs llama-bench and `ration bench --json` once, in turns which goes first, so that a
machine that slows down slows both. Only the ratios mean anything: printed are Ration / llama.cpp,
median, least and most over the rounds. The JSON holds every figure and the machine's description.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

KINDS = ("prefill", "decode")
INSTRUCTIONS = ("avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vbmi",
                "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16")


def field(path, name):
    """The value of a `name : value` line of a file in /proc, or "" where there is none."""
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def describe_machine():
    flags = set(field("/proc/cpuinfo", "flags").split())
    return {
        "cpu": field("/proc/cpuinfo", "model name"),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "last_level_cache": field("/proc/cpuinfo", "cache size"),
        "memory_bytes": 1024 * int(field("/proc/meminfo", "MemTotal").split()[0]),
        "kernel": os.uname().release,
    }


def run(command):
    """Standard output of a command; a failed one ends the program with its words."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"compare.py: cannot run {command[0]}: {error.strerror}")
    if done.returncode != 0:
        sys.exit(f"compare.py: {' '.join(map(str, command))} ended with {done.returncode}:\n"
                 f"{done.stderr.strip()}")
    return done.stdout


def measure_llama(arguments, model):
    command = [arguments.llama_bin / "llama-bench", "-m", model, "-t", arguments.threads,
               "-p", arguments.prefill, "-n", arguments.decode, "-d", arguments.depth,
               "-r", 1, "-o", "json"]
    rates, entries = {}, json.loads(run(command))
    for entry in entries:
        kind = "prefill" if entry["n_prompt"] > 0 else "decode"
        rates[kind] = entry["avg_ts"]
    return rates, f"{entries[0]['build_commit']} (build {entries[0]['build_number']})"


def measure_ration(arguments, model):
    command = [arguments.ration, "bench", model, "--prefill", arguments.prefill,
               "--decode", arguments.decode, "--threads", arguments.threads, "--json"]
    if arguments.depth:
        command += ["--depth", arguments.depth]
    answer = json.loads(run(command))
    return {kind: answer[kind]["tokens_per_second"] for kind in KINDS}, answer


def summary(values):
    return {"median": round(statistics.median(values), 4), "least": round(min(values), 4),
            "most": round(max(values), 4)}


def compare(arguments, model):
    rounds, build, last = [], "", {}
    for number in range(arguments.rounds):
        figures = {"load_average": os.getloadavg()[0]}
        for who in ("llama", "ration") if number % 2 == 0 else ("ration", "llama"):
            if who == "llama":
                figures[who], build = measure_llama(arguments, model)
            else:
                figures[who], last = measure_ration(arguments, model)
        rounds.append(figures)
        print(f"  round {number + 1}: " + ", ".join(
            f"{kind} {figures['ration'][kind]:.1f} beside {figures['llama'][kind]:.1f} tokens/s"
            for kind in KINDS), flush=True)
    result = {"model": model.name, "bytes": model.stat().st_size, "sha256": sha256(model),
              "llama_build": build, "ration_settings": settings(last)}
    for kind in KINDS:
        result[kind] = {
            "ratio": summary([round_["ration"][kind] / round_["llama"][kind] for round_ in rounds]),
            "ration_tokens_per_second": summary([round_["ration"][kind] for round_ in rounds]),
            "llama_tokens_per_second": summary([round_["llama"][kind] for round_ in rounds]),
        }
    return result | {"rounds": rounds}


def settings(answer):
    """What `ration bench` says beside its rates: instruction set, bytes and so on."""
    return {key: value for key, value in answer.items() if key not in KINDS}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-bin", required=True, type=pathlib.Path,
                        help="the folder with llama-bench")
    parser.add_argument("--ration", required=True, type=pathlib.Path, help="the ration program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prefill", type=int, default=128)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON goes")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    result = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "threads": arguments.threads, "prefill_tokens": arguments.prefill,
        "decode_tokens": arguments.decode, "depth": arguments.depth, "models": [],
    }
    for model in arguments.models:
        print(model.name, flush=True)
        entry = compare(arguments, model)
        result["models"].append(entry)
        for kind in KINDS:
            ratio = entry[kind]["ratio"]
            print(f"  {kind}: {ratio['median']:.2f} of llama.cpp "
                  f"({ratio['least']:.2f} to {ratio['most']:.2f})", flush=True)
    busiest = max(round_["load_average"] for entry in result["models"] for round_ in entry["rounds"])
    if busiest > arguments.threads + 0.5:
        print(f"others were at work: the load average reached {busiest:.1f}, wanted about "
              f"{arguments.threads}; measure again on a quiet machine")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
