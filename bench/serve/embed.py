#!/usr/bin/env python3
"""Texts a second as vectors: ration serve against sentence-transformers, on the same CPUs.

    embed.py PROGRAM FOLDER_OF_THE_MODEL [--threads 2] [--rounds 7] [--json FILE]

Needs sentence-transformers with torch. Both read the same folder (all-MiniLM-L6-v2). First the
vectors are compared: nothing is timed unless they are equal within 1e-3. Then both take turns, and
the medians are printed with their spread. Ration is asked over HTTP, with its JSON; the other in
its own process.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import statistics
import subprocess
import time

MOST = 1e-3
WORDS = ("the river runs past a small town where people sell bread and read about trains that "
         "never stop there because no bridge was built in time").split()


def text(words, number):
    """So many words, another text for each number."""
    return " ".join(WORDS[(number * 7 + i * (1 + number % 3)) % len(WORDS)] for i in range(words))


LOADS = {
    "one short text": [text(8, 1)],
    "32 short texts": [text(6 + i % 5, i) for i in range(32)],
    "32 paragraphs": [text(80 + 5 * (i % 8), i) for i in range(32)],
    "8 of 200 words": [text(200, i) for i in range(8)],
}


class Ration:
    def __init__(self, program, model, threads):
        self.process = subprocess.Popen(
            [program, "serve", model, "--port", "0", "--threads", str(threads), "--quiet"],
            stdout=subprocess.PIPE, text=True)
        found = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        if not found:
            raise SystemExit("the server did not start")
        self.port = int(found.group(1))
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)

    def __call__(self, texts):
        self.connection.request("POST", "/v1/embeddings", json.dumps({"input": texts}),
                                {"Content-Type": "application/json"})
        answer = json.loads(self.connection.getresponse().read())
        return [one["embedding"] for one in answer["data"]]

    def close(self):
        self.process.terminate()
        self.process.wait()


def peer(model, threads):
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import sentence_transformers
    import torch
    torch.set_num_threads(threads)
    loaded = sentence_transformers.SentenceTransformer(str(model), device="cpu")

    def embed(texts):
        with torch.inference_mode():
            return loaded.encode(texts, batch_size=32, normalize_embeddings=True,
                                 show_progress_bar=False).tolist()
    name = f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}"
    return name, embed


def seconds(embed, texts):
    """Of one call, over as many as take a fifth of a second."""
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < 0.2:
        embed(texts)
        calls += 1
    return (time.perf_counter() - start) / calls


def spread(values):
    return f"{min(values):.1f} to {max(values):.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json")
    given = parser.parse_args()
    name, theirs = peer(given.model, given.threads)
    ours = Ration(given.program, given.model, given.threads)
    report = {"peer": name, "threads": given.threads, "rounds": given.rounds, "loads": {}}
    try:
        for load, texts in LOADS.items():
            off = max(abs(a - b) for x, y in zip(ours(texts), theirs(texts), strict=True)
                      for a, b in zip(x, y, strict=True))
            if off > MOST:
                raise SystemExit(f"{load}: the vectors differ by {off:.2g}, nothing is timed")
            rates = {"ration": [], "peer": []}
            for _ in range(given.rounds):
                rates["ration"].append(len(texts) / seconds(ours, texts))
                rates["peer"].append(len(texts) / seconds(theirs, texts))
            ration, other = (statistics.median(rates[who]) for who in ("ration", "peer"))
            print(f"{load:16} ration {ration:7.1f} texts/s ({spread(rates['ration'])}), "
                  f"peer {other:7.1f} ({spread(rates['peer'])}): {ration / other:.2f}x, "
                  f"vectors within {off:.1g}", flush=True)
            report["loads"][load] = {"texts_per_second": rates, "ratio": ration / other,
                                     "largest_difference": off}
    finally:
        ours.close()
    if given.json:
        pathlib.Path(given.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
