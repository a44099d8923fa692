#!/usr/bin/env python3
"""Makes data/reference/<model>.json: what llama.cpp computes with a real model, for our gates.

    make_reference.py --logits PROGRAM --quantize PROGRAM --work DIR --peer NAME MODEL.gguf...

PROGRAM are llama_logits (bench/peer/build_tools.sh) and llama.cpp's llama-quantize; DIR holds
several gigabytes for a while, and what is finished, so that a run that was cut off goes on. NAME
says which llama.cpp that was and goes into the files. Needs numpy and gguf. What every field means is written in README.md beside this script.
"""

import argparse
import hashlib
import json
import math
import pathlib
import subprocess
import sys

import gguf
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "bench" / "peer"))
import llama_peer  # noqa: E402  (the folder is only known now)

POSITIONS = 500
# Gemma 3 has windows of 512: its sequence is longer, and its positions are the last ones.
LENGTHS = {"gemma3": 801}
WINDOW, WINDOWS = 512, 20
GREEDY_TOKENS = 64


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_dequantised(model, copy):
    before = {tensor.name: tensor for tensor in gguf.GGUFReader(model).tensors}
    after = {tensor.name: tensor for tensor in gguf.GGUFReader(copy).tensors}
    if before.keys() != after.keys():  # a tied output must stay tied
        sys.exit(f"{copy}: other tensors than {model}: {before.keys() ^ after.keys()}")
    for name, tensor in after.items():
        if tensor.tensor_type != gguf.GGMLQuantizationType.F32:
            sys.exit(f"{copy}: {name} is {tensor.tensor_type.name}, wanted F32")
        wanted = gguf.quants.dequantize(before[name].data, before[name].tensor_type)
        if not np.array_equal(wanted.reshape(-1), tensor.data.reshape(-1)):
            sys.exit(f"{copy}: {name} differs from the decoded original")


def dequantise(arguments, model):
    """An F32 copy of the file, checked value by value against the gguf package's own decoder."""
    out = arguments.work / (model.stem + ".f32.gguf")
    if not out.exists():
        part = out.with_suffix(".part")
        subprocess.run([arguments.quantize, "--allow-requantize", model, part, "F32"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        check_dequantised(model, part)
        part.rename(out)
    return out


def architecture(model):
    return gguf.GGUFReader(model).fields["general.architecture"].contents()


def f32_gate(arguments, peer, model, f32):
    text = (HERE / "text.txt").read_text(encoding="utf-8")
    ids = peer.ids(model, text)[0][:LENGTHS.get(architecture(model), POSITIONS + 1)]
    if len(ids) <= POSITIONS:
        sys.exit(f"text.txt has {len(ids)} ids in {model.name}, wanted more")
    first = len(ids) - 1 - POSITIONS

    def rows(path, name, **options):
        out = arguments.work / f"{model.stem}.{name}.bin"
        return peer.logits(path, ids, out, first=first, **options)[:POSITIONS]

    reference = rows(f32, "f32")
    gate = {"first": first, "positions": POSITIONS, "kv": "f32"} | llama_peer.summarise(reference)
    kl = {}
    for name, batch in {"prompt": 512, "generated": 1}.items():
        other = rows(model, "quantised", kv_f16=True, batch=batch)
        kl[name] = float(f"{llama_peer.kl_divergence(reference, other):.4g}")
    return {"ids": ids, "f32_gate": gate, "kl_quantised_to_f32": kl}


def perplexity(peer, model):
    """20 windows of 512 ids, BOS first where the model adds it; every id after the first counts."""
    text = (HERE / "text_long.txt").read_text(encoding="utf-8")
    empty, ids = peer.ids(model, "", text)
    bos = empty[:1]
    body = ids[len(bos):]
    step = WINDOW - len(bos)
    windows = [bos + body[begin:begin + step] for begin in range(0, WINDOWS * step, step)]
    if len(windows[-1]) != WINDOW:
        sys.exit(f"text_long.txt is too short for {model.name}")

    scores = np.array(peer.scores(model, windows, kv_f16=True))
    return {"perplexity": {"window": WINDOW, "scored": scores.size,
                           "quantised": round(math.exp(-scores.mean()), 6), "windows": windows}}


def greedy(peer, model, f32):
    lines = (HERE / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = peer.ids(model, *[json.loads(line)["text"] for line in lines])
    reference = peer.greedy(f32, prompts, GREEDY_TOKENS)
    quantised = peer.greedy(model, prompts, GREEDY_TOKENS, kv_f16=True)
    answers = []
    for line, ids, steps, other in zip(lines, prompts, reference, quantised):
        differs = [a[0] != b[0] for a, b in zip(steps, other)]
        first = differs.index(True) if True in differs else None
        answers.append({
            "name": json.loads(line)["name"], "prompt": ids,
            "ids": [step[0] for step in steps], "second": [step[1] for step in steps],
            "logprob": [round(step[2], 5) for step in steps],
            "gap": [round(step[3], 5) for step in steps],
            "quantised_diverges_at": first,
        })
    return {"greedy_f32": answers}


def stage(arguments, model, name, compute):
    """What `compute` returns, kept in the work folder: a run that was cut off goes on from there."""
    kept = arguments.work / f"{model.stem}.{name}.json"
    if not kept.exists():
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(compute()))
        part.rename(kept)
    return json.loads(kept.read_text())


def make(arguments, model):
    peer = llama_peer.Peer(arguments.logits, arguments.threads)
    f32 = dequantise(arguments, model)
    reference = {
        "model": {"file": model.name, "sha256": sha256(model), "bytes": model.stat().st_size,
                  "architecture": architecture(model)},
        "peer": arguments.peer,
        "text": {"file": "text.txt", "sha256": sha256(HERE / "text.txt")},
    }
    reference |= stage(arguments, model, "gate", lambda: f32_gate(arguments, peer, model, f32))
    reference |= stage(arguments, model, "perplexity", lambda: perplexity(peer, model))
    reference |= stage(arguments, model, "greedy", lambda: greedy(peer, model, f32))
    (HERE / (model.stem + ".json")).write_text(llama_peer.json_lines(reference))
    print(model.stem, reference["kl_quantised_to_f32"], reference["perplexity"]["quantised"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logits", required=True, help="the llama_logits program")
    parser.add_argument("--quantize", required=True, help="llama.cpp's llama-quantize")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="a folder for big files")
    parser.add_argument("--peer", required=True, help="which llama.cpp, for the record")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        make(arguments, model)


if __name__ == "__main__":
    main()
