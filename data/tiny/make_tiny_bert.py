#!/usr/bin/env python3
"""Writes the tiny encoders: data/tiny/bert (a folder with safetensors), bert.gguf, nomic-bert.gguf,
and bert.json, what they must compute.

    make_tiny_bert.py [OUT_DIR]

Needs numpy and gguf (made with gguf 0.19.0; the same version writes the same bytes). Weights are
random, scaled so that attention looks at a few places and every part is felt. The answers are
computed here in F64, from the papers' formulas and by BERT's own rules for words: nothing of ours
is used.
"""

import json
import math
import pathlib
import struct
import sys
import unicodedata

import gguf
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent

WIDTH, LAYERS, HEADS, INNER = 24, 2, 3, 40
POSITIONS, CONTEXT = 450, 430  # more than one segment of attention
EPSILON = 1e-3

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("the of and to in cat cats dog sat on mat where what river long text").split()
PIECES = ("ing ed er ly at og iver ong ext").split()
# Hangul is taken apart into these.
JAMO = [chr(code) for code in (0x1112, 0x1161, 0x11AB, 0x1100, 0x116E, 0x11A8)]
TOKENS = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS + list(LETTERS) +
          list("0123456789.,?!'-$[]") + ["中", "文"] + JAMO[:1] +
          ["##" + piece for piece in [*LETTERS, *PIECES, *"0123456789", *JAMO[1:]]])
UNK, CLS, SEP = 1, 2, 3

TEXTS = ["", "the cat sat on the mat", "The CAT   sat\ton\nthe mat.", "cats, dogs & rivers!",
         "naïve café où", "한국", "中文 text", "what's in a $100 river?", "[CLS] the dog",
         "a" * 101, "a" * 100, "the\u200bcat \u00ad x\u0007y \x0b z", "∑ ⊕"]
LENGTHS = [1, 2, 31, 33, 70, 200, 430]


def is_punctuation(letter):
    code = ord(letter)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(letter).startswith("P")


def is_ideograph(code):
    return any(first <= code <= last for first, last in (
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)))


def words_of(text):
    """BERT's basic tokenizer: cleaned, ideographs alone, without accents, lower case, cut."""
    clean = ""
    for letter in text:
        if letter in "\t\n\r" or unicodedata.category(letter) == "Zs":
            clean += " "
        elif ord(letter) in (0, 0xFFFD) or unicodedata.category(letter)[0] == "C":
            continue
        elif is_ideograph(ord(letter)):
            clean += f" {letter} "
        else:
            clean += letter
    bare = "".join(letter for letter in unicodedata.normalize("NFD", clean)
                   if unicodedata.category(letter) != "Mn").lower()
    words, word = [], ""
    for letter in bare + " ":
        if letter == " " or is_punctuation(letter):
            if word:
                words.append(word)
            word = ""
            if letter != " ":
                words.append(letter)
        else:
            word += letter
    return words


def encode(text):
    ids = [CLS]
    index = {token: number for number, token in enumerate(TOKENS)}
    for word in words_of(text):
        pieces, at = [], 0
        while at < len(word) and len(word) <= 100:
            for end in range(len(word), at, -1):
                piece = ("##" if at else "") + word[at:end]
                if piece in index:
                    pieces.append(index[piece])
                    at = end
                    break
            else:
                pieces = []
                break
        ids += pieces or [UNK]
    return ids + [SEP]


def make_tensors(gated, seed):
    random = np.random.Generator(np.random.PCG64(seed))
    tensors = {}

    def matrix(name, rows, cols, gain):
        values = random.standard_normal((rows, cols)) * (gain / math.sqrt(cols))
        tensors[name + ".weight"] = values.astype(np.float32)

    def vector(name, count, centre, spread):
        values = centre + spread * random.standard_normal(count)
        tensors[name] = values.astype(np.float32)

    def norm(name):
        vector(name + ".weight", WIDTH, 1.0, 0.25)
        vector(name + ".bias", WIDTH, 0.0, 0.3)

    def linear(name, rows, cols, gain):
        matrix(name, rows, cols, gain)
        if not gated:
            vector(name + ".bias", rows, 0.0, 0.3)

    matrix("token_embd", len(TOKENS), WIDTH, gain=math.sqrt(WIDTH))
    if not gated:
        matrix("position_embd", POSITIONS, WIDTH, gain=0.5 * math.sqrt(WIDTH))
    matrix("token_types", 2, WIDTH, gain=0.5 * math.sqrt(WIDTH))
    norm("token_embd_norm")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        if gated:
            matrix(block + "attn_qkv", 3 * WIDTH, WIDTH, gain=1.3)
        else:
            linear(block + "attn_q", WIDTH, WIDTH, gain=1.4)
            linear(block + "attn_k", WIDTH, WIDTH, gain=1.4)
            linear(block + "attn_v", WIDTH, WIDTH, gain=1.0)
        linear(block + "attn_output", WIDTH, WIDTH, gain=1.0)
        norm(block + "attn_output_norm")
        if gated:
            matrix(block + "ffn_gate", INNER, WIDTH, gain=1.5)
        linear(block + "ffn_up", INNER, WIDTH, gain=1.5)
        linear(block + "ffn_down", WIDTH, INNER, gain=1.5)
        norm(block + "layer_output_norm")
    return tensors


def states(tensors, ids, gated):
    """The last states of a text, [tokens, WIDTH] F64."""
    weights = {name: values.astype(np.float64) for name, values in tensors.items()}
    erf = np.vectorize(math.erf)

    def norm(x, name):
        off = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((off * off).mean(axis=1, keepdims=True) + EPSILON)
        return off / deviation * weights[name + ".weight"] + weights[name + ".bias"]

    def linear(x, name):
        return x @ weights[name + ".weight"].T + weights.get(name + ".bias", 0)

    def rotate(x):
        """[tokens, heads, size]: pair i is (i, i + size / 2), base 1000."""
        half = x.shape[2] // 2
        angles = np.arange(len(x))[:, None] * 1000.0 ** (-np.arange(half) / half)
        cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]
        a, b = x[:, :, :half], x[:, :, half:]
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=2)

    x = weights["token_embd.weight"][ids] + weights["token_types.weight"][0]
    if not gated:
        x = x + weights["position_embd.weight"][: len(ids)]
    x = norm(x, "token_embd_norm")
    size = WIDTH // HEADS
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        if gated:
            q, k, v = np.split(linear(x, block + "attn_qkv"), 3, axis=1)
        else:
            q, k, v = (linear(x, block + f"attn_{part}") for part in "qkv")
        q, k, v = (part.reshape(len(ids), HEADS, size) for part in (q, k, v))
        if gated:
            q, k = rotate(q), rotate(k)
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(size)
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        scores /= scores.sum(axis=2, keepdims=True)
        attended = np.einsum("hij,jhd->ihd", scores, v).reshape(len(ids), WIDTH)
        x = norm(x + linear(attended, block + "attn_output"), block + "attn_output_norm")
        up = linear(x, block + "ffn_up")
        if gated:
            gate = linear(x, block + "ffn_gate")
            up = gate / (1 + np.exp(-gate)) * up
        else:
            up = up / 2 * (1 + erf(up / math.sqrt(2)))
        x = norm(x + linear(up, block + "ffn_down"), block + "layer_output_norm")
    return x


def vectors(tensors, ids, gated):
    x = states(tensors, ids, gated)

    def unit(vector):
        return [round(float(number), 9) for number in vector / np.linalg.norm(vector)]
    return {"mean": unit(x.mean(axis=0)), "first": unit(x[0])}


def write_gguf(path, architecture, tensors, gated):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"{path.stem}, random weights")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    if gated:
        writer.add_rope_freq_base(1000.0)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list([token if token[0] == "[" and token[-1] == "]" and len(token) > 2
                           else token[2:] if token.startswith("##") else "▁" + token
                           for token in TOKENS])
    writer.add_token_types([3 if number < 5 else 1 for number in range(len(TOKENS))])
    writer.add_bos_token_id(CLS)
    writer.add_sep_token_id(SEP)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(0)
    for name, values in tensors.items():
        if name == "position_embd.weight":
            values = values[:CONTEXT]  # as llama.cpp wants it
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


HUB_NAMES = {"token_embd": "embeddings.word_embeddings",
             "position_embd": "embeddings.position_embeddings",
             "token_types": "embeddings.token_type_embeddings",
             "token_embd_norm": "embeddings.LayerNorm",
             "attn_q": "attention.self.query", "attn_k": "attention.self.key",
             "attn_v": "attention.self.value", "attn_output": "attention.output.dense",
             "attn_output_norm": "attention.output.LayerNorm",
             "ffn_up": "intermediate.dense", "ffn_down": "output.dense",
             "layer_output_norm": "output.LayerNorm"}


def hub_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"encoder.layer.{parts[1]}.{HUB_NAMES[parts[2]]}.{parts[3]}"
    return f"{HUB_NAMES[parts[0]]}.{parts[1]}"


def write_safetensors(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    named = {hub_name(name): values for name, values in tensors.items()}
    named["embeddings.position_ids"] = np.arange(POSITIONS, dtype=np.int64)[None, :]
    named["pooler.dense.weight"] = np.eye(WIDTH, dtype=np.float32)
    types = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
    for name, values in sorted(named.items(), key=lambda item: (item[1].dtype != np.int64, item)):
        begin = len(data)
        data += values.tobytes()
        header[name] = {"dtype": types[values.dtype], "shape": list(values.shape),
                        "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_folder(folder, tensors):
    folder.mkdir(exist_ok=True)
    (folder / "1_Pooling").mkdir(exist_ok=True)

    def put(name, content):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    put("config.json", {"model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH,
                        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
                        "intermediate_size": INNER, "max_position_embeddings": POSITIONS,
                        "layer_norm_eps": EPSILON, "type_vocab_size": 2,
                        "vocab_size": len(TOKENS)})
    put("modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling",
         "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize",
         "type": "sentence_transformers.models.Normalize"}])
    put("1_Pooling/config.json", {"pooling_mode_cls_token": False,
                                  "pooling_mode_mean_tokens": True})
    put("sentence_bert_config.json", {"max_seq_length": CONTEXT})
    put("tokenizer_config.json", {"do_lower_case": True, "strip_accents": None})
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    write_safetensors(folder / "model.safetensors", tensors)


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    bert, nomic = make_tensors(False, 41), make_tensors(True, 42)
    write_folder(out / "bert", bert)
    write_gguf(out / "bert.gguf", "bert", bert, False)
    write_gguf(out / "nomic-bert.gguf", "nomic-bert", nomic, True)
    random = np.random.Generator(np.random.PCG64(43))
    texts = [random.integers(low=0, high=len(TOKENS), size=length).tolist() for length in LENGTHS]
    answers = {
        "texts": [{"text": text, "ids": encode(text)} for text in TEXTS],
        "bert": [{"ids": ids, **vectors(bert, ids, False)} for ids in texts],
        "nomic-bert": [{"ids": ids, **vectors(nomic, ids, True)} for ids in texts],
    }
    (out / "bert.json").write_text(json.dumps(answers, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
