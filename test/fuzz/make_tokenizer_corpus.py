#!/usr/bin/env python3
"""Writes corpus/tokenizer: one made-up vocabulary a family, as tokenizer_fuzz.cpp reads them."""

import pathlib
import struct

MODELS = ["gpt2", "gemma4", "whitespace", "llama", "bert", "t5"]
BPE_BASE, SPM_BASE = 0x80, 0x40
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"


def token(text, kind=NORMAL, score=0.0, behind=None):
    """behind: the number of a token whose text comes first."""
    data = text.encode()
    assert len(data) < 16
    out = bytes([len(data) << 4 | (8 if behind is not None else 0) | kind]) + data
    return out + (bytes([behind]) if behind is not None else b"") + struct.pack("b", int(score * 4))


def kind(model, base=0):
    """A byte that names `model` modulo their number and asks for `base`."""
    return next(b for b in range(256) if b % len(MODELS) == MODELS.index(model) and b & 0xC0 == base)


def seed(model, base, pre, tokens, merges, flags, more, ids=(), charsmap=None, text=b""):
    out = bytes([kind(model, base), pre, len(tokens)]) + b"".join(tokens)
    out += bytes([len(merges)]) + b"".join(bytes(pair) for pair in merges)
    out += bytes([flags, more, *ids])
    if model == "t5":
        out += bytes([len(charsmap)]) + charsmap
    return out + text


def main():
    folder = pathlib.Path(__file__).parent / "corpus" / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    text = "Hello  wörld\n\n12345 <|im_end|>it's\u3000漢字 <tool>é".encode() + b"\xff\xc0\xa0"
    letter = {c: i for i, c in enumerate(map(chr, range(ord("!"), ord("~") + 1)))}
    words = [token("<|im_end|>", CONTROL), token("<tool>", USER), token("he"), token("ll"),
             token("o", behind=99), token("el")]
    merges = [(letter["h"], letter["e"]), (letter["l"], letter["l"]), (letter["e"], letter["l"])]
    seeds = {}
    for pre in range(0, 91, 13):
        seeds[f"bpe_{pre}"] = seed("gpt2", BPE_BASE, pre, words, merges, 0, 0x93, [0, 1, 98], text=text)
    lines = [token(c) for c in "Helo\n"] + [token(SPACE), token("He"), token("ll"), token("<0x0A>", BYTE)]
    seeds["bpe_raw"] = seed("gemma4", 0, 0, lines, [(0, 1), (2, 2), (4, 4)], 0, 0x81, [5], text=text)
    seeds["bpe_white_space"] = seed("whitespace", 0, 90, lines, [(0, 1)], 16, 0x80, text=text)
    pieces = [token("H", score=-5), token("e", score=-5), token("He", score=-1), token("l", score=-5),
              token("ll", score=-2), token(SPACE + "H", score=-3), token("</s", score=-1)]
    seeds["spm"] = seed("llama", SPM_BASE, 0, pieces, [], 5, 0x20, text=text)
    pieces = [token("[UNK]", UNKNOWN), token("[CLS]", CONTROL), token("[SEP]", CONTROL),
              token(SPACE + "hello"), token(SPACE + "w"), token("orld"), token(SPACE + "1"), token("2")]
    seeds["wpm"] = seed("bert", 0, 0, pieces, [], 0x30, 0x0D, [1, 0, 2], text=text)
    # A normaliser whose trie is a root alone.
    small = struct.pack("<I", 4) + struct.pack("<I", 1 << 10) + b"x\0"
    pieces = [token("<s>", CONTROL), token("</s>", CONTROL), token("<unk>", UNKNOWN), token(SPACE, score=-2),
              token("H", score=-4), token("ell", score=-3), token("o", score=-3), token("<tool>", USER)]
    seeds["ugm"] = seed("t5", 0, 0, pieces, [], 13, 6, [1, 2], small, text)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)
    print(len(seeds), "seeds,", sum(map(len, seeds.values())), "bytes")


if __name__ == "__main__":
    main()
