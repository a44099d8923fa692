#!/usr/bin/env python3
"""Writes the seeds of gguf_fuzz into corpus/gguf: small files shaped like real ones.

Run it again after a change and commit what it wrote; the output is the same on every machine.
"""
import pathlib
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q",
        I64: "q", F64: "d"}
# tensor type: (numbers a block, bytes a block)
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
          10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
          20: (32, 18), 23: (256, 136), 30: (1, 2)}


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack("<" + PACK[kind], value)


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + scalar(kind, value)


def array(key, kind, values):
    head = text(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(scalar(kind, value) for value in values)


def model(entries, tensors=(), version=3, alignment=32):
    """tensors: (name, type, shape fastest first)"""
    infos, data = b"", b""
    for name, kind, shape in tensors:
        data += bytes(-len(data) % alignment)
        infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        infos += struct.pack("<IQ", kind, len(data))
        numbers, size = BLOCKS[kind]
        count = shape[0] // numbers * size
        for extent in shape[1:]:
            count *= extent
        data += bytes(count)
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    out += b"".join(entries) + infos
    return out + (bytes(-len(out) % alignment) + data if tensors else b"")


def block(number, width, kind):
    name = f"blk.{number}."
    yield name + "attn_norm.weight", 0, (width,)
    yield name + "ffn_norm.weight", 0, (width,)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        yield name + part + ".weight", kind, (width, 2)


def llama(kind, width, **options):
    entries = [
        entry("general.architecture", STRING, "llama"),
        entry("general.name", STRING, "Seed 1M"),
        entry("general.file_type", U32, 2),
        entry("llama.block_count", U32, 2),
        entry("llama.context_length", U32, 2048),
        entry("llama.embedding_length", U32, width),
        entry("llama.feed_forward_length", U32, 2),
        entry("llama.attention.head_count", U32, 4),
        entry("llama.attention.head_count_kv", U32, 2),
        entry("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        entry("llama.rope.freq_base", F32, 10000.0),
    ] + spm() + options.pop("entries", [])
    tensors = [("token_embd.weight", kind, (width, 8)), ("output_norm.weight", 0, (width,))]
    for number in range(2):
        tensors += block(number, width, kind)
    return model(entries, tensors, **options)


def spm():
    return [
        entry("tokenizer.ggml.model", STRING, "llama"),
        array("tokenizer.ggml.tokens", STRING,
              ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "\u2581a", b"\xf0\x9f"]),
        array("tokenizer.ggml.scores", F32, [0, 0, 0, 0, -1, -2, -3, -4]),
        array("tokenizer.ggml.token_type", I32, [2, 3, 3, 6, 1, 1, 1, 1]),
        entry("tokenizer.ggml.bos_token_id", U32, 1),
        entry("tokenizer.ggml.add_bos_token", BOOL, 1),
        entry("tokenizer.chat_template", STRING,
              "{% for m in messages %}{{ m['content'] }}{% endfor %}"),
    ]


def bpe():
    return [
        entry("general.architecture", STRING, "qwen2"),
        entry("tokenizer.ggml.model", STRING, "gpt2"),
        entry("tokenizer.ggml.pre", STRING, "qwen2"),
        array("tokenizer.ggml.tokens", STRING, ["a", "b", "ab", "\u0120a", "<|im_end|>"]),
        array("tokenizer.ggml.token_type", I32, [1, 1, 1, 1, 3]),
        array("tokenizer.ggml.merges", STRING, ["a b", "\u0120 a"]),
        entry("tokenizer.ggml.eos_token_id", U32, 4),
    ]


def every_value():
    return [
        entry("u8", U8, 255), entry("i8", I8, -1), entry("u16", U16, 65535), entry("i16", I16, -1),
        entry("u32", U32, 2**32 - 1), entry("i32", I32, -1), entry("f32", F32, 1.5),
        entry("bool", BOOL, 1), entry("string", STRING, "s"),
        entry("u64", U64, 2**64 - 1), entry("i64", I64, -1),
        entry("f64", F64, float("nan")),
        *(array(f"array.{kind}", kind, [0, 1]) for kind in PACK),
        array("array.8", STRING, ["", "x"]), array("empty", STRING, []),
    ]


def part(number, count):
    split = [entry("split.no", U16, number), entry("split.count", U16, count),
             entry("split.tensors.count", I32, count)]
    return model(split + (spm() if number == 0 else []), [(f"t{number}", 8, (32, 2))])


def seeds():
    yield "empty", model([])
    yield "llama_q4_0", llama(2, 32)
    yield "llama_q4_k_v2", llama(12, 256, version=2)
    yield "llama_align_64", llama(0, 8, alignment=64, entries=[entry("general.alignment", U32, 64)])
    yield "vocabulary_spm", model([entry("general.architecture", STRING, "llama")] + spm())
    yield "vocabulary_bpe", model(bpe())
    yield "every_value", model(every_value())
    yield "every_tensor_type", model(
        [], [(f"t{kind}", kind, (256, 1, 2, 1)[:1 + kind % 4]) for kind in BLOCKS])
    yield "split", part(0, 2) + part(1, 2)
    yield "nested_array", model([text("k") + struct.pack("<IIQIQ", ARRAY, ARRAY, 1, U8, 0)])
    yield "huge_array", model([text("k") + struct.pack("<IIQ", ARRAY, U8, 2**60)])
    yield "huge_counts", b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60)
    yield "huge_tensor", b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("w") + struct.pack(
        "<I4QIQ", 4, *[2**31] * 4, 0, 0) + bytes(64)
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)


def main():
    folder = pathlib.Path(__file__).parent / "corpus" / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
