#!/usr/bin/env python3
"""Writes expected.bin: the ids that llama.cpp gives the texts of texts.txt.

    make_expected.py --source LLAMA_CPP --libraries BUILD/bin --models MODELS

LLAMA_CPP is the source tree (its headers and models/ggml-vocab-*.gguf), BUILD/bin holds libllama.so,
MODELS the GGUF files named in REAL_MODELS. Written with llama.cpp as in llama-cpp-python 0.3.36.

A set is one vocabulary, possibly with another pre-tokeniser or tokenizer model put in its place. The
file: "ration-expected 1", a line with the numbers of sets and texts, a line a set (file name, pre,
model; - for the file's own); then for each text how many different answers there are, each as its
count and its ids, then for each set the number of its answer, or 255 where llama.cpp aborts. Numbers
are LEB128.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

HERE = pathlib.Path(__file__).parent
REAL_MODELS = ["smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b"]
NO_ANSWER = 255
# Where pre-tokenisers are tried out: small, and has every byte; the raw ones need one without the
# byte alphabet.
BYTE_VOCABULARY = "ggml-vocab-deepseek-coder"
RAW_VOCABULARY = "ggml-vocab-gemma-4"
RAW_PRE = {"gemma4": "gpt2", "granite-embed-multi-311m": "gpt2", "sarvam-moe": "gpt2",
           "whitespace": "whitespace"}


def unescape(line):
    data = line.encode()

    def one(at):
        if data[at] != ord("\\"):
            first = data[at]
            length = 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            return data[at:at + length], at + length
        kind = chr(data[at + 1])
        if kind == "x":
            return bytes([int(data[at + 2:at + 4], 16)]), at + 4
        if kind == "*":
            end = data.index(b";", at)
            repeated, after = one(end + 1)
            return repeated * int(data[at + 2:end]), after
        return {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}[kind], at + 2

    out, at = b"", 0
    while at < len(data):
        piece, at = one(at)
        out += piece
    return out


def read_texts():
    lines = (HERE / "texts.txt").read_text(encoding="utf-8").split("\n")[:-1]
    return [(line[0], unescape(line[2:])) for line in lines]


def ask(tool, folder, vocabulary, texts, pre, model):
    """One list of ids a text; None where llama.cpp does not survive it."""
    answers = []
    while len(answers) < len(texts):
        path = folder / "texts.bin"
        rest = texts[len(answers):]
        path.write_bytes(b"".join(b"%s%d\n%s\n" % (m.encode(), len(t), t) for m, t in rest))
        command = [tool, vocabulary, path] + [x for x in (pre, model) if x != "-"]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = done.stdout.split("\n")
        lines = [line for line in lines[:-1] if re.fullmatch(r"(\d+( \d+)*)?", line)]
        if done.returncode == 0:
            assert len(lines) == len(rest), (vocabulary, pre, len(lines))
        elif not lines and not answers and done.returncode in (2, 3, 4):
            raise RuntimeError(f"{vocabulary} with {pre}: {done.returncode} {done.stderr}")
        answers += [[int(x) for x in line.split()] for line in lines[:len(rest)]]
        if done.returncode != 0:
            answers.append(None)
    return answers


def leb128(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def sets_of(vocabularies):
    sets = [(name, "-", "-") for name in vocabularies] + [(name, "-", "-") for name in REAL_MODELS]
    table = (HERE / "../../../src/model/tokenizer/pre_tokenizer.cpp").read_text()
    table = table[table.index("kPreTokenizers[] = {"):]
    for pre in re.findall(r'^    \{"([^"]+)"', table, re.M):
        if pre in RAW_PRE:
            sets.append((RAW_VOCABULARY, pre, RAW_PRE[pre]))
        else:
            sets.append((BYTE_VOCABULARY, pre, "-"))
    return sets


def main():
    parser = argparse.ArgumentParser()
    for flag in ("--source", "--libraries", "--models"):
        parser.add_argument(flag, type=pathlib.Path, required=True)
    args = parser.parse_args()
    texts = read_texts()
    vocabularies = sorted(p.stem for p in (args.source / "models").glob("ggml-vocab-*.gguf"))
    sets = sets_of(vocabularies)

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        tool = folder / "peer_ids"
        subprocess.run(["clang++-19", "-O1", "-std=c++17", f"-I{args.source}/include",
                        f"-I{args.source}/ggml/include", HERE / "peer_ids.cpp",
                        f"-L{args.libraries}", "-lllama", "-lggml", "-lggml-base",
                        f"-Wl,-rpath,{args.libraries}", "-o", tool], check=True)
        columns = []
        for name, pre, model in sets:
            root = args.source / "models" if name in vocabularies else args.models
            columns.append(ask(tool, folder, root / f"{name}.gguf", texts, pre, model))
            silent = sum(answer is None for answer in columns[-1])
            print(name, pre, model, f"{silent} without an answer" if silent else "", flush=True)

    header = f"ration-expected 1\n{len(sets)} {len(texts)}\n"
    header += "".join(f"{name} {pre} {model}\n" for name, pre, model in sets)
    out = bytearray(header.encode())
    for i in range(len(texts)):
        different = []
        for column in columns:
            if column[i] is not None and column[i] not in different:
                different.append(column[i])
        assert len(different) < NO_ANSWER
        out += leb128(len(different))
        for ids in different:
            out += leb128(len(ids)) + b"".join(leb128(x) for x in ids)
        for column in columns:
            out.append(NO_ANSWER if column[i] is None else different.index(column[i]))
    (HERE / "expected.bin").write_bytes(out)
    print(len(sets), "sets,", len(texts), "texts,", len(out), "bytes")


if __name__ == "__main__":
    main()
