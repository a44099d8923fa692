#!/usr/bin/env python3
"""Makes data/tiny/<model>.json, llama.cpp's answers for the tiny models, and perturbation.txt.

    make_reference.py --logits PROGRAM --peer NAME

PROGRAM is llama_logits (bench/peer/build_tools.sh), NAME goes into the files. Needs numpy and gguf.
The perturbed copies that perturbation.txt is about show that the gate can fail: each changes one
thing in a file, and llama.cpp's own answers must then miss the gate against the unchanged file.
"""

import argparse
import copy
import pathlib
import sys
import tempfile

import make_tiny_models
import numpy as np
import tiny_vocabulary

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "bench" / "peer"))
import llama_peer  # noqa: E402  (the folder is only known now)

# The gate (test/gate): top-1 equal where the gap is this wide, top-1 log-probabilities this close.
GAP_MIN, MEAN_MAX, MOST_MAX = 0.02, 0.002, 0.02


def runs(model):
    """(context asked for, ids) of each run: random ids behind BOS, across blocks and windows."""
    random = np.random.Generator(np.random.PCG64(1000 + len(model.name)))
    lengths = {"phi3-long": [(256, 160), (512, 300)]}.get(model.name, [(256, 160)])
    answers = []
    for context, length in lengths:
        count = tiny_vocabulary.size(model.vocabulary)
        ids = random.integers(low=8, high=count - 8, size=length).tolist()
        if model.vocabulary.startswith("spm"):
            ids[0] = {"spm-gemma": 2}.get(model.vocabulary, 1)
        answers.append((context, ids))
    return answers


def scale(key, factor):
    def change(model):
        model.metadata[key] *= factor
    return f"{key} x {factor}", change


def put(key, value):
    def change(model):
        model.metadata[key] = value
    return f"{key} = {value}", change


def remove(*names):
    def change(model):
        for name in names:
            del (model.metadata if name in model.metadata else model.tensors)[name]
    return f"without {', '.join(names)}", change


def zero(name):
    def change(model):
        model.tensors[name][:] = 0
    return f"{name} = 0", change


def ones(name):
    def change(model):
        model.tensors[name][:] = 1
    return f"{name} = 1", change


def swap_halves(name):
    def change(model):
        first, second = np.split(model.tensors[name], 2)
        model.tensors[name] = np.concatenate([second, first])
    return f"{name}: halves swapped", change


def swap_factors():
    def change(model):
        names = "rope_factors_long.weight", "rope_factors_short.weight"
        long, short = (model.tensors[name] for name in names)
        model.tensors.update({names[0]: short, names[1]: long})
    return "long and short factors swapped", change


def perturbations(model):
    """(title, change) or, for a change that only one run can feel, (title, change, its context)."""
    last = model.layers - 1
    changes = [scale("attention.layer_norm_rms_epsilon", 1.25)]
    if "rope.freq_base" in model.metadata:
        changes.append(scale("rope.freq_base", 1.1))
    else:
        changes.append(put("rope.freq_base", 11000.0))
    for key in ["rope.scaling.factor", "rope.scaling.attn_factor", "rope.freq_base_swa",
                "final_logit_softcapping"]:
        if key in model.metadata:
            changes.append(scale(key, 1.05))
    if model.metadata.get("rope.scaling.type") == "yarn":
        changes += [put("rope.scaling.type", "linear"),
                    scale("rope.scaling.original_context_length", 4)]
    changes += [zero(name) for name in model.tensors
                if name.endswith(".bias") and name.startswith(f"blk.{last}.")]
    changes += [ones(name) for name in model.tensors
                if name.endswith("_norm.weight") and name.startswith(f"blk.{last}.")]
    if model.architecture == "gemma3":
        window = model.metadata["attention.sliding_window"]
        changes += [put("attention.sliding_window", window + change) for change in (-1, 1)]
        changes.append(remove("attention.sliding_window"))
        if "attention.sliding_window_pattern" in model.metadata:
            changes.append(remove("attention.sliding_window_pattern"))
        else:
            changes.append(put("attention.sliding_window_pattern", 5))
        if "rope.freq_base_swa" not in model.metadata:
            changes.append(put("rope.freq_base_swa", 11000.0))
    if "rope_freqs.weight" in model.tensors:
        changes.append(remove("rope_freqs.weight"))
    if "rope_factors_long.weight" in model.tensors:
        changes.append(swap_factors())
        changes.append(remove("rope_factors_long.weight", "rope_factors_short.weight"))
    if "expert_count" in model.metadata:
        changes += expert_perturbations(model)
    if model.architecture == "phi3":
        changes.append(swap_halves(f"blk.{last}.ffn_up.weight"))
    if model.name == "phi3-partial":
        changes.append(put("rope.dimension_count", 10))
    if model.name == "phi3-long":  # at or above the context: short factors; below it: long ones
        changes += [(*put("rope.scaling.original_context_length", 512), 512),
                    (*put("rope.scaling.original_context_length", 255), 256)]
    return changes


def expert_perturbations(model):
    used, last = model.metadata["expert_used_count"], model.layers - 1
    changes = [put("expert_used_count", used - 1), put("expert_used_count", used + 1),
               swap_halves(f"blk.{last}.ffn_gate_inp.weight")]
    changes += [swap_halves(f"blk.{last}.ffn_{part}_exps.weight") for part in ("gate", "up", "down")]
    changes += [zero(name) for name in model.tensors
                if "_shexp" in name and name.startswith(f"blk.{last}.")]
    for key in ["embedding_scale", "residual_scale", "attention.scale", "logit_scale"]:
        if key in model.metadata:
            changes.append(scale(key, 1.05))
    return changes


def compare(reference, other):
    """(top-1 changes where the gap is wide, mean and largest difference of the top-1 value)."""
    a, b = llama_peer.log_softmax(reference), llama_peer.log_softmax(other)
    rows = np.arange(len(a))
    best = a.argmax(axis=1)
    ordered = np.sort(a, axis=1)
    wide = ordered[:, -1] - ordered[:, -2] >= GAP_MIN
    changed = int((wide & (b.argmax(axis=1) != best)).sum())
    difference = np.abs(a[rows, best] - b[rows, best])
    return changed, float(difference.mean()), float(difference.max())


class Maker:
    def __init__(self, peer, peer_name, work):
        self.peer, self.peer_name, self.work = peer, peer_name, work
        self.table = []

    def logits(self, path, context, ids, **options):
        rows = self.peer.logits(path, ids, self.work / "rows.bin", context=context, **options)
        return np.array(rows)

    def reference(self, model):
        path = HERE / f"{model.name}.gguf"
        entry = {"model": path.name, "peer": self.peer_name, "runs": []}
        rows = []
        for context, ids in runs(model):
            rows.append(self.logits(path, context, ids))
            spread = compare(rows[-1], self.logits(path, context, ids, batch=1))
            entry["runs"].append({
                "context": context, "ids": ids,
                "spread_prompt_generated": {"changed": spread[0], "mean": spread[1],
                                            "max": spread[2]},
            } | llama_peer.summarise(rows[-1]))
            best = np.exp([values[0] for values in entry["runs"][-1]["top_logprobs"]])
            print(f"{model.name:15} context {context}: best id's probability, quartiles "
                  f"{np.round(np.quantile(best, [0.25, 0.5, 0.75]), 2)}, "
                  f"spread {spread[1]:.1e} {spread[2]:.1e}")
        (HERE / f"{model.name}.json").write_text(llama_peer.json_lines(entry))
        return rows

    def perturb(self, model, rows):
        for title, change, *only in perturbations(model):
            changed_model = copy.deepcopy(model)
            change(changed_model)
            path = self.work / "perturbed.gguf"
            changed_model.write(path)
            for (context, ids), reference in zip(runs(model), rows):
                if only and context not in only:
                    continue
                changed, mean, most = compare(reference, self.logits(path, context, ids))
                caught = changed > 0 or mean > MEAN_MAX or most > MOST_MAX
                self.table.append((model.name, context, title, changed, mean, most,
                                   "caught" if caught else "NOT CAUGHT"))

    def write_table(self):
        lines = [
            "What llama.cpp's own answers change by when one thing in a tiny model is changed. Made by",
            "make_reference.py. changed: positions whose best id changed although the gap was at least",
            f"{GAP_MIN} nat; mean, max: difference of the best id's log-probability. The gate allows 0,",
            f"{MEAN_MAX} and {MOST_MAX}.", "",
            f"{'model':15} {'context':>7} {'changed':>7} {'mean':>8} {'max':>8}         what",
        ]
        for name, context, title, changed, mean, most, verdict in self.table:
            lines.append(f"{name:15} {context:7} {changed:7} {mean:8.4f} {most:8.4f} "
                         f"{verdict:>6}  {title}")
        (HERE / "perturbation.txt").write_text("\n".join(lines) + "\n")
        print("\n".join(line for line in lines if "NOT CAUGHT" in line) or "every change is caught")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logits", required=True, help="the llama_logits program")
    parser.add_argument("--peer", required=True, help="which llama.cpp, for the record")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        maker = Maker(llama_peer.Peer(arguments.logits, threads=1), arguments.peer,
                      pathlib.Path(work))
        for make in make_tiny_models.MODELS:
            model = make()
            maker.perturb(model, maker.reference(model))
        maker.write_table()


if __name__ == "__main__":
    main()
