#!/usr/bin/env python3
"""Writes a mixture-of-experts model of a published shape with random weights, to measure speed with.

    make_moe_model.py TOKENISER.gguf OUT.gguf [--layers 24] [--type F16]

The shape is Granite 3.0 1B A400M's: 24 layers, width 1024, 16 heads over 8, 32 experts of 512, 8 of
them for a token, 49152 tokens. TOKENISER is any GGUF file with so many tokens (SmolLM2 has), whose
vocabulary is copied. Speed depends on the shapes; what such a model answers means nothing. The
routers' outputs are spread so that experts are chosen about evenly. Q4_0 or Q8_0 are written here,
or made from F16 by llama-quantize. Needs numpy and gguf.
"""

import argparse

import gguf
import numpy as np

WIDTH, HEADS, KV_HEADS, EXPERTS, USED, INNER, VOCABULARY = 1024, 16, 8, 32, 8, 512, 49152


def copy_tokenizer(path, writer):
    reader = gguf.GGUFReader(path)
    for field in reader.fields.values():
        if not field.name.startswith("tokenizer."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, inner)
    count = len(reader.fields["tokenizer.ggml.tokens"].data)
    if count != VOCABULARY:
        raise SystemExit(f"{path}: found {count} tokens, wanted {VOCABULARY}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizer")
    parser.add_argument("out")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--type", default="F16", choices=["F16", "Q4_0", "Q8_0"])
    arguments = parser.parse_args()
    kind = gguf.GGMLQuantizationType[arguments.type]
    random = np.random.Generator(np.random.PCG64(1))
    writer = gguf.GGUFWriter(arguments.out, "granitemoe", use_temp_file=True)
    writer.add_name("random weights, shape of Granite 3.0 1B A400M")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{arguments.type}"])
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(arguments.layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(VOCABULARY)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(USED)
    writer.add_embedding_scale(12.0)
    writer.add_residual_scale(0.22)
    writer.add_attention_scale(0.015625)
    writer.add_logit_scale(6.0)
    copy_tokenizer(arguments.tokenizer, writer)

    def matrix(name, *shape):
        values = random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))
        if arguments.type == "F16":
            writer.add_tensor(name + ".weight", values.astype(np.float16))
        else:
            writer.add_tensor(name + ".weight", gguf.quants.quantize(values, kind), raw_dtype=kind)

    def plain(name, values):
        writer.add_tensor(name + ".weight", values.astype(np.float32))

    matrix("token_embd", VOCABULARY, WIDTH)
    plain("output_norm", np.ones(WIDTH))
    for layer in range(arguments.layers):
        block = f"blk.{layer}"
        plain(f"{block}.attn_norm", np.ones(WIDTH))
        matrix(f"{block}.attn_q", WIDTH, WIDTH)
        matrix(f"{block}.attn_k", WIDTH * KV_HEADS // HEADS, WIDTH)
        matrix(f"{block}.attn_v", WIDTH * KV_HEADS // HEADS, WIDTH)
        matrix(f"{block}.attn_output", WIDTH, WIDTH)
        plain(f"{block}.ffn_norm", np.ones(WIDTH))
        plain(f"{block}.ffn_gate_inp",
              random.standard_normal((EXPERTS, WIDTH)) / np.sqrt(WIDTH))
        matrix(f"{block}.ffn_gate_exps", EXPERTS, INNER, WIDTH)
        matrix(f"{block}.ffn_up_exps", EXPERTS, INNER, WIDTH)
        matrix(f"{block}.ffn_down_exps", EXPERTS, WIDTH, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
