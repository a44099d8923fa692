"""Runs llama.cpp's programs for the scripts that make our reference values.

Needs numpy. The programs are `llama_logits` (built by build_tools.sh) and llama.cpp's own.
"""

import json
import pathlib
import subprocess
import tempfile

import numpy as np


def json_lines(value):
    """JSON with one top-level entry a line, so that a diff of a regenerated file can be read."""
    entries = [f"{json.dumps(key)}: {json.dumps(entry, separators=(',', ':'))}"
               for key, entry in value.items()]
    return "{\n" + ",\n".join(entries) + "\n}\n"


def log_softmax(logits):
    """logits: [rows, vocabulary] float32; returns float64 of the same shape."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=1, keepdims=True))
    return wide


def summarise(logits, best=10):
    """The reference values of each row: the `best` ids, their log-probabilities, and the gap.

    The gap is top-1 minus top-2 in nats. Ties go to the lower id.
    """
    ids, logprobs = [], []
    for begin in range(0, len(logits), 64):
        rows = log_softmax(np.asarray(logits[begin:begin + 64]))
        order = np.argsort(-rows, axis=1, kind="stable")[:, :best]
        ids += order.tolist()
        logprobs += np.take_along_axis(rows, order, axis=1).tolist()
    return {
        "top_ids": ids,
        "top_logprobs": [[round(value, 6) for value in row] for row in logprobs],
        "gap": [round(row[0] - row[1], 6) for row in logprobs],
    }


def kl_divergence(reference, other):
    """Mean over rows of KL(reference || other), full vocabulary, in nats."""
    total = 0.0
    for begin in range(0, len(reference), 64):
        p = log_softmax(np.asarray(reference[begin:begin + 64]))
        q = log_softmax(np.asarray(other[begin:begin + 64]))
        total += float((np.exp(p) * (p - q)).sum())
    return total / len(reference)


class Peer:
    """llama.cpp's answers. One object for one folder of programs; threads is used throughout."""

    def __init__(self, logits_program, threads=1):
        self.program = str(logits_program)
        self.threads = threads

    def run(self, *arguments):
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    def ids(self, model, *texts):
        """The ids of each text as the model's own rules have it, BOS included where it adds one."""
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for number, text in enumerate(texts):
                paths.append(pathlib.Path(folder) / str(number))
                paths[-1].write_text(text, encoding="utf-8")
            lines = self.run("ids", model, *paths).splitlines()
        return [[int(word) for word in line.split()] for line in lines]

    def _with_ids(self, command, model, sequences, *options):
        with tempfile.NamedTemporaryFile("w", suffix=".ids") as file:
            for ids in sequences:
                file.write(" ".join(map(str, ids)) + "\n")
            file.flush()
            return self.run(command, model, "--ids", file.name, "--threads", self.threads, *options)

    def logits(self, model, ids, out, *, batch=512, context=0, first=0, kv_f16=False, flash=False):
        """Raw rows [len(ids) - first, vocabulary] float32, mapped from the file `out`."""
        options = ["--out", out, "--batch", batch, "--context", context, "--first", first]
        options += ["--kv-f16"] if kv_f16 else []
        options += ["--flash"] if flash else []
        self._with_ids("logits", model, [ids], *options)
        return np.memmap(out, dtype=np.float32, mode="r").reshape(len(ids) - first, -1)

    def scores(self, model, sequences, *, batch=512, kv_f16=False, flash=False):
        """For each sequence the log-probability of ids 1..n-1."""
        options = ["--batch", batch]
        options += ["--kv-f16"] if kv_f16 else []
        options += ["--flash"] if flash else []
        lines = self._with_ids("score", model, sequences, *options).splitlines()
        return [[float(word) for word in line.split()] for line in lines]

    def greedy(self, model, prompts, tokens, *, kv_f16=False):
        """For each prompt its greedy steps as (id, second id, log-probability, gap)."""
        options = ["--tokens", tokens] + (["--kv-f16"] if kv_f16 else [])
        lines = self._with_ids("greedy", model, prompts, *options).splitlines()
        answers = []
        for line in lines:
            steps = [step.split() for step in line.split(",")]
            answers.append([(int(a), int(b), float(c), float(d)) for a, b, c, d in steps])
        return answers
