#!/usr/bin/env python3
"""Writes all-minilm-l6-v2.json: what sentence-transformers makes of some texts.

    make_embedding_reference.py FOLDER_OF_THE_MODEL

Needs sentence-transformers with torch, on a CPU. The folder is the model as its makers publish it.
"""

import hashlib
import json
import pathlib
import sys

import sentence_transformers
import torch

HERE = pathlib.Path(__file__).resolve().parent

RIVER = ("A river that has been slow for a hundred kilometres does not hurry because a bridge was "
         "built over it. ")
TEXTS = [
    "",
    " \t\n ",
    "Hello",
    "The cat sits outside.",
    "A man is playing guitar.",
    "How many people live in Berlin?",
    "Berlin has a population of 3,520,031 registered inhabitants in an area of 891.82 km².",
    "NAÏVE café, Ångström; coöperate — “quotes” … and a soft\u00adhyphen",
    "Der Fluß fließt langsam, und niemand weiß warum.",
    "Γειά σου Κόσμε, η θάλασσα είναι βαθιά",
    "Привет, мир! Ёжик в тумане.",
    "东京是日本的首都。富士山很高。",
    "日本語のテキストです。カタカナも少し。",
    "한국어 문장도 있습니다.",
    "مرحبا بالعالم",
    "हिन्दी में एक वाक्य",
    "I ❤️ trains 🚂🚃 and \u200bzero width\u200d joiners",
    "def norm(x):\n    return x / (x @ x) ** 0.5  # unit length",
    "https://example.com/a/very/long/path?with=arguments&and=more#fragment",
    "x" * 100 + " " + "y" * 101,
    RIVER * 6,
    RIVER * 40,
    "control \x07 characters \x0b and \x7f others \x85 end",
]


def main():
    folder = pathlib.Path(sys.argv[1])
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    weights = (folder / "model.safetensors").read_bytes()
    answers = []
    for text in TEXTS:
        ids = model.preprocess([text])["input_ids"][0].tolist()
        vector = model.encode([text], normalize_embeddings=True)[0]
        answers.append({"text": text, "ids": ids,
                        "vector": [float(f"{number:.7g}") for number in vector.tolist()]})
    reference = {
        "model": {"name": "all-MiniLM-L6-v2", "bytes": len(weights),
                  "sha256": hashlib.sha256(weights).hexdigest()},
        "peer": f"sentence-transformers {sentence_transformers.__version__}, "
                f"torch {torch.__version__.split('+')[0]}",
        "texts": answers,
    }
    path = HERE / "all-minilm-l6-v2.json"
    path.write_text(json.dumps(reference, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
