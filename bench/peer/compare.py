#!/usr/bin/env python3
"""Measures Ration beside llama.cpp: same file, same threads, in alternation.

    compare.py --llama-bin DIR --ration PATH [--sections speed,depth,...] [--rounds 5 | --quick]
               [--threads N] [--decode 64] [--out RESULT.json] MODEL.gguf...

Each round runs both programs once, in turns which goes first, so that a machine that slows down
slows both. Only the ratios mean anything: printed is how many times better Ration is (its rate over
the other's, or the other's time or memory over its own): median, least and most over the rounds.
The JSON holds every figure, the machine's description and its roofs. The sections:

"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import statistics
import sys

from programs import fields
from sections import SECTIONS

INSTRUCTIONS = ("avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vbmi",
                "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16")


def describe_machine():
    cpu = fields("/proc/cpuinfo")
    flags = set(cpu.get("flags", "").split())
    return {
        "cpu": cpu.get("model name", ""),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "last_level_cache": cpu.get("cache size", ""),
        "memory_bytes": 1024 * int(fields("/proc/meminfo")["MemTotal"].split()[0]),
        "kernel": os.uname().release,
    }


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def summary(values):
    return {"median": round(statistics.median(values), 4), "least": round(min(values), 4),
            "most": round(max(values), 4)}


def better(ours, theirs, more_is_better):
    """How many times better; None where nothing can be said (a time of nothing, say)."""
    above, below = (ours, theirs) if more_is_better else (theirs, ours)
    return above / below if above > 0 and below > 0 else None


def measure(section, rounds):
    """{figure: {unit, ration, llama, times_better}} of one section of one model."""
    seen = []
    for number in range(rounds):
        figures = {"load_average": os.getloadavg()[0]}
        for who in ("llama", "ration") if number % 2 == 0 else ("ration", "llama"):
            if ask := getattr(section, who):
                figures[who] = ask()
        seen.append(figures)
    result = {}
    for figure, (unit, more_is_better) in section.UNITS.items():
        entry = {"unit": unit, "ration": summary([round_["ration"][figure] for round_ in seen])}
        if section.llama:
            entry["llama"] = summary([round_["llama"][figure] for round_ in seen])
            ratios = [better(round_["ration"][figure], round_["llama"][figure], more_is_better)
                      for round_ in seen]
            entry["times_better"] = None if None in ratios else summary(ratios)
        result[figure] = entry
    return result, seen


def show(figure, entry):
    ratio = entry.get("times_better")
    ours, theirs = entry["ration"]["median"], entry.get("llama", {}).get("median")
    text = f"    {figure:17} {ours:>9.4g} {entry['unit']:11}"
    if theirs is not None:
        text += f" llama.cpp {theirs:>9.4g}"
    if ratio:
        text += f"   {ratio['median']:.2f} x ({ratio['least']:.2f} to {ratio['most']:.2f})"
    print(text, flush=True)


def compare(options, model):
    entry = {"model": model.name, "bytes": model.stat().st_size, "sha256": sha256(model),
             "sections": {}}
    busiest = 0.0
    for name in options.sections:
        section = SECTIONS[name](options, model)
        figures, rounds = measure(section, options.rounds)
        entry["sections"][name] = {"figures": figures, "rounds": rounds}
        entry.setdefault("said", {}).update(section.said)
        busiest = max([busiest, *(round_["load_average"] for round_ in rounds)])
        print(f"  {name}: {SECTIONS[name].__doc__.splitlines()[0]}")
        for figure, values in figures.items():
            show(figure, values)
    roofs = entry.get("said", {}).get("roofs")
    if roofs:
        print(f"  roofs: {roofs['read_gigabytes_per_second']} GB/s read, "
              f"{roofs['int8_gigaops_per_second']} GOP/s of 8-bit products")
    return entry, busiest


def parse(arguments):
    sections = "\n".join(f"  {name:8} {kind.__doc__.splitlines()[0]}"
                         for name, kind in SECTIONS.items())
    parser = argparse.ArgumentParser(description=__doc__ + sections,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bin", required=True, type=pathlib.Path,
                        help="the folder with llama-bench, llama-batched-bench and llama-server")
    parser.add_argument("--ration", required=True, type=pathlib.Path, help="the ration program")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, and less of idling")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--decode", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON goes")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    options = parser.parse_args(arguments)
    options.sections = options.sections.split(",")
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        parser.error(f"no section is called {unknown[0]}; there are {', '.join(SECTIONS)}")
    if options.quick:
        options.rounds = 1
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.idle_seconds = 5 if options.quick else 20
    return options


def main():
    options = parse(sys.argv[1:])
    result = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
              "machine": describe_machine(), "threads": options.threads,
              "decode_tokens": options.decode, "models": []}
    busiest = 0.0
    for model in options.models:
        print(model.name, flush=True)
        entry, load = compare(options, model)
        result["models"].append(entry)
        busiest = max(busiest, load)
        if options.out:  # as far as it is: a long measurement may be stopped
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if busiest > options.threads + 0.5:
        print(f"others were at work: the load average reached {busiest:.1f}, wanted about "
              f"{options.threads}; measure again on a quiet machine")


if __name__ == "__main__":
    main()
