#!/usr/bin/env python3
"""Measures models that do not fit together: `ration serve` of several under one budget, clients that
ask for them at random, alone on the machine.

    residency.py --ration PATH --memory 2GB [--minutes 10] [--clients 4] [--pause 1.5] [--seed 1]
                 [--replay PATH_OF_residency_bench] [--json] MODEL MODEL...

  peak resident   of the process, against the budget: at most 5 % or 16 MiB above it
  failures        answers that are not 200 and whole: none
  loads           of the server, beside what "least recently used" would load for the same requests
                  one after the other, with so many models at once as surely fit; fewer
  --replay        the same by simulation, where each order may serve requests in batches of a model

Exits with 1 where one of them is not so.
"""

import argparse
import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

WORDS = ("river mountain sea stone window letter garden winter bridge engine paper music market "
         "shadow silver morning captain forest island memory doctor number candle harbour").split()


class Server:
    """`ration serve` on a free port, for as long as the block; it is looked at ten times a second."""

    def __init__(self, options):
        self.command = [options.ration, "serve", *options.models, "--port", "0", "--memory",
                        options.memory, "--threads", str(options.threads), "--quiet"]
        self.bytes = {}
        self.resident = 0
        self.ended = threading.Event()

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        found = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        if not found:
            sys.exit("the server did not start")
        self.port = int(found.group(1))
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.watcher.join()
        self.process.terminate()
        self.process.wait()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def get(self, path):
        connection = self.connect()
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def watch(self):
        while not self.ended.wait(0.1):
            self.resident = max(self.resident, self.status("VmRSS"))
            for row in json.loads(self.get("/api/ps"))["models"]:
                self.bytes[row["name"]] = row["size"]

    def status(self, name):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(rf"{name}:\s+(\d+) kB", text).group(1)) * 1024

    def metrics(self):
        sums = {}
        for line in self.get("/metrics").splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = name.split("{")[0]
                sums[name] = sums.get(name, 0) + float(value)
        return sums


def client(server, options, names, number, end, asked):
    """Asks for models at random until the end."""
    rng = random.Random(options.seed * 1000 + number)
    connection = server.connect()
    while time.perf_counter() < end:
        model = rng.choice(names)
        body = {"model": model, "temperature": 0, "max_tokens": rng.randint(8, 48),
                "prompt": " ".join(rng.choices(WORDS, k=30))}
        row = {"at": time.perf_counter(), "model": model, "fine": False}
        asked.append(row)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body))
            answer = connection.getresponse()
            text = json.loads(answer.read())
            row["fine"] = answer.status == 200 and bool(text["choices"][0]["finish_reason"])
            if row["fine"]:
                row["bill"] = text["usage"]["ration"]["ms"]
            else:
                row["error"] = text
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            row["error"] = repr(error)
            connection.close()
        row["seconds"] = time.perf_counter() - row["at"]
        time.sleep(rng.expovariate(1 / options.pause))
    connection.close()


def count_that_fits(sizes, budget):
    """So many models at once, whichever they are."""
    count = 0
    while count < len(sizes) and sum(sorted(sizes)[-count - 1:]) <= budget:
        count += 1
    return count


def lru_loads(sequence, count):
    held, loads = [], 0
    for model in sequence:
        if model in held:
            held.remove(model)
        else:
            loads += 1
            held = held[max(0, len(held) + 1 - count):]
        held.append(model)
    return loads


def quantile(values, share):
    values = sorted(values)
    return values[int(share * (len(values) - 1))] if values else None


def replay(options, server, rows, count, load_ms):
    """Loads of each order of eviction, by simulation of the same trace."""
    start = rows[0]["at"]
    trace = [json.dumps({"ms": (row["at"] - start) * 1000, "prompt": 1, "answer": 1,
                         "model": row["model"]}) for row in rows]
    models = []
    for name, size in server.bytes.items():
        works = [row["bill"]["prefill"] + row["bill"]["decode"] for row in rows
                 if row["model"] == name and "bill" in row]
        models.append(f"{name}:{size}:{load_ms:.0f}:{quantile(works, 0.5) or 1:.0f}")
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("\n".join(trace))
        file.flush()
        done = subprocess.run([options.replay, file.name, str(options.pool), str(count), *models],
                              capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(options):
    asked = []
    with Server(options) as server:
        names = [row["id"] for row in json.loads(server.get("/v1/models"))["data"]]
        budget = int(server.metrics()["ration_memory_budget_bytes"])
        start = time.perf_counter()
        threads = [threading.Thread(target=client, args=(server, options, names, number,
                                                         start + options.minutes * 60, asked))
                   for number in range(options.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        peak = max(server.resident, server.status("VmHWM"))
        metrics = server.metrics()
    asked.sort(key=lambda row: row["at"])
    options.pool = budget - 32 * 2**20
    count = max(1, count_that_fits(list(server.bytes.values()), options.pool))
    loads = int(metrics["ration_model_loads_total"])
    allowed = budget + max(budget // 20, 16 * 2**20)
    failures = [row for row in asked if not row["fine"]]
    waits = [row["bill"]["load"] + row["bill"]["queue"] for row in asked if row["fine"]]
    result = {
        "models": server.bytes, "budget_bytes": budget, "seconds": seconds,
        "clients": options.clients, "requests": len(asked), "failures": len(failures),
        "first_failures": [row["error"] for row in failures[:3]],
        "peak_resident_bytes": peak, "allowed_resident_bytes": allowed,
        "loads": loads,
        "load_failures": int(metrics.get("ration_model_load_failures_total", 0)),
        "load_seconds": metrics["ration_model_load_seconds_sum"],
        "lru_by_count": {"models_at_once": count,
                         "loads": lru_loads([row["model"] for row in asked], count)},
        "wait_ms": {share: quantile(waits, float(share)) for share in ("0.5", "0.95", "0.99")},
        "answer_seconds": {share: quantile([row["seconds"] for row in asked], float(share))
                           for share in ("0.5", "0.95", "0.99")}}
    if options.replay:
        mean = metrics["ration_model_load_seconds_sum"] / loads * 1000
        result["replayed"] = replay(options, server, asked, count, mean)
    result["holds"] = (peak <= allowed and not failures and result["load_failures"] == 0 and
                       loads < result["lru_by_count"]["loads"])
    return result


def show(result):
    print(f"{result['requests']} requests in {result['seconds']:.0f} s from {result['clients']} "
          f"clients, {result['failures']} failed")
    for name, size in result["models"].items():
        print(f"  {name:32} {size / 1e6:7.0f} MB")
    print(f"peak resident  {result['peak_resident_bytes'] / 1e6:.0f} MB of a budget of "
          f"{result['budget_bytes'] / 1e6:.0f} MB ({result['allowed_resident_bytes'] / 1e6:.0f} "
          f"allowed)")
    lru = result["lru_by_count"]
    print(f"loads          {result['loads']} in {result['load_seconds']:.1f} s; least recently used "
          f"of {lru['models_at_once']} at once: {lru['loads']}")
    print(f"waits          median {result['wait_ms']['0.5']:.0f} ms, p95 "
          f"{result['wait_ms']['0.95']:.0f} ms, p99 {result['wait_ms']['0.99']:.0f} ms")
    for name, loads in result.get("replayed", {}).items():
        print(f"replayed       {name}: {loads} loads")
    print("holds" if result["holds"] else "DOES NOT HOLD")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ration", required=True)
    parser.add_argument("--memory", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--pause", type=float, default=1.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--replay")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    options.threads = options.threads or len(os.sched_getaffinity(0))
    result = measure(options)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)
    sys.exit(0 if result["holds"] else 1)


if __name__ == "__main__":
    main()
