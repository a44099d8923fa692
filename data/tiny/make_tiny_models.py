#!/usr/bin/env python3
"""Writes data/tiny/*.gguf: small models with random weights, one for each family and variant.

    make_tiny_models.py [OUT_DIR]

Needs numpy and gguf (made with gguf 0.19.0; the same version writes the same bytes). Weights are
scaled so that the models behave like trained ones: attention looks at a few places, the best id has
a probability of 0.3 to 0.9, and every metadata key that changes the arithmetic is felt. The epsilons
are larger than any real model's, for the same reason.
"""

import math
import pathlib
import sys

import gguf
import numpy as np
import tiny_vocabulary

HERE = pathlib.Path(__file__).resolve().parent


class Model:
    """One file in the making: metadata (key -> value), tensors (name -> F32), a vocabulary."""

    def __init__(self, name, architecture, vocabulary, seed):
        self.name, self.architecture, self.vocabulary = name, architecture, vocabulary
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.metadata, self.tensors = {}, {}
        self.quantised = None  # the type of the matrices; None: F32

    def set(self, **values):
        """Keys without the architecture's prefix; a double underscore stands for a dot."""
        for key, value in values.items():
            self.metadata[key.replace("__", ".")] = value

    def matrix(self, name, rows, cols, gain):
        """Rows whose product with a vector of unit mean square has a deviation of `gain`."""
        values = self.random.standard_normal((rows, cols)) * (gain / math.sqrt(cols))
        self.tensors[name + ".weight"] = values.astype(np.float32)

    def vector(self, name, count, centre, spread):
        values = centre + spread * self.random.standard_normal(count)
        self.tensors[name] = values.astype(np.float32)

    def norm(self, name, count, centre=1.0):
        self.vector(name + ".weight", count, centre, 0.25 * centre)

    def add_matrix(self, writer, name, values):
        if self.quantised is None or values.ndim == 1 or "ffn_gate_inp" in name:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, self.quantised),
                              raw_dtype=self.quantised)

    def write(self, path):
        writer = gguf.GGUFWriter(path, self.architecture)
        writer.add_name(f"{self.name}, random weights")
        writer.add_license("Apache-2.0")
        kind = f"MOSTLY_{self.quantised.name}" if self.quantised else "ALL_F32"
        writer.add_file_type(gguf.LlamaFileType[kind])
        for key, value in self.metadata.items():
            key = f"{self.architecture}.{key}"
            if isinstance(value, bool):
                writer.add_bool(key, value)
            elif isinstance(value, int):
                writer.add_uint32(key, value)
            elif isinstance(value, float):
                writer.add_float32(key, value)
            elif isinstance(value, str):
                writer.add_string(key, value)
            else:
                writer.add_array(key, value)
        tiny_vocabulary.add(writer, self.vocabulary)
        for name, values in self.tensors.items():
            self.add_matrix(writer, name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def base(name, architecture, vocabulary, seed, *, width, layers, heads, kv_heads, inner, epsilon,
         context=1024, head_size=None, tied=False, embedding=0.7, logits=4.5):
    """What all families share: sizes, embedding, final norm, output.

    embedding and logits are the deviations of a residual and of a logit.
    """
    model = Model(name, architecture, vocabulary, seed)
    model.set(context_length=context, embedding_length=width, block_count=layers,
              feed_forward_length=inner, attention__head_count=heads,
              attention__head_count_kv=kv_heads, attention__layer_norm_rms_epsilon=epsilon)
    if head_size is not None:
        model.set(attention__key_length=head_size, attention__value_length=head_size)
    model.width, model.layers, model.inner = width, layers, inner
    model.heads, model.kv_heads = heads, kv_heads
    model.head_size = head_size or width // heads
    rows = tiny_vocabulary.size(vocabulary)
    model.tensors["token_embd.weight"] = (
        model.random.standard_normal((rows, width)) * embedding).astype(np.float32)
    if tied:
        model.norm("output_norm", width, centre=logits / (embedding * math.sqrt(width)))
    else:
        model.norm("output_norm", width)
        model.matrix("output", rows, width, gain=logits)
    return model


def attention(model, block, *, fused=False, biases=(), output_bias=False, peak=1.15, out=0.8):
    """peak: deviation of a query and a key entry; their product, scaled, has its square."""
    query, kv = model.heads * model.head_size, model.kv_heads * model.head_size
    model.norm(f"{block}.attn_norm", model.width)
    if fused:
        model.matrix(f"{block}.attn_qkv", query + 2 * kv, model.width, gain=peak)
    else:
        model.matrix(f"{block}.attn_q", query, model.width, gain=peak)
        model.matrix(f"{block}.attn_k", kv, model.width, gain=peak)
        model.matrix(f"{block}.attn_v", kv, model.width, gain=1.0)
    for part in biases:
        model.vector(f"{block}.attn_{part}.bias", query if part == "q" else kv, 0.0, 0.6)
    model.matrix(f"{block}.attn_output", model.width, query, gain=out)
    if output_bias:
        model.vector(f"{block}.attn_output.bias", model.width, 0.0, 0.2)


def feed_forward(model, block, *, fused=False, biases=False, out=1.0):
    model.norm(f"{block}.ffn_norm", model.width)
    if fused:
        model.matrix(f"{block}.ffn_up", 2 * model.inner, model.width, gain=1.2)
    else:
        model.matrix(f"{block}.ffn_gate", model.inner, model.width, gain=1.2)
        model.matrix(f"{block}.ffn_up", model.inner, model.width, gain=1.2)
    model.matrix(f"{block}.ffn_down", model.width, model.inner, gain=out)
    if biases:
        model.vector(f"{block}.ffn_gate.bias", model.inner, 0.0, 0.3)
        model.vector(f"{block}.ffn_up.bias", model.inner, 0.0, 0.3)
        model.vector(f"{block}.ffn_down.bias", model.width, 0.0, 0.2)


def experts(model, block, *, shared=0, shared_router=False, out=1.6):
    """A router whose outputs differ by a few nat, and experts of model.inner numbers each."""
    model.norm(f"{block}.ffn_norm", model.width)
    model.matrix(f"{block}.ffn_gate_inp", model.experts, model.width, gain=1.0)

    def stack(name, rows, cols, gain):
        values = model.random.standard_normal((model.experts, rows, cols)) * (gain / math.sqrt(cols))
        model.tensors[f"{block}.{name}.weight"] = values.astype(np.float32)
    stack("ffn_gate_exps", model.inner, model.width, 1.2)
    stack("ffn_up_exps", model.inner, model.width, 1.2)
    stack("ffn_down_exps", model.width, model.inner, out)
    if shared:
        model.matrix(f"{block}.ffn_gate_shexp", shared, model.width, gain=1.2)
        model.matrix(f"{block}.ffn_up_shexp", shared, model.width, gain=1.2)
        model.matrix(f"{block}.ffn_down_shexp", model.width, shared, gain=1.0)
    if shared_router:
        values = model.random.standard_normal(model.width) / math.sqrt(model.width)
        model.tensors[f"{block}.ffn_gate_inp_shexp.weight"] = values.astype(np.float32)


def blocks(model):
    return [f"blk.{layer}" for layer in range(model.layers)]


def rope_factors_llama3(pairs, freq_base, *, factor, low, high, original):
    """Divisors of the frequencies as Llama 3.1 defines them."""
    divisors = []
    for pair in range(pairs):
        wavelength = 2 * math.pi * freq_base ** (pair / pairs)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def llama(name, vocabulary, seed, **options):
    options = dict(width=32, layers=3, heads=4, kv_heads=2, inner=80, epsilon=0.05) | options
    model = base(name, "llama", vocabulary, seed, **options)
    model.set(rope__dimension_count=model.head_size)
    return model


def llama_plain():
    model = llama("llama-plain", "spm", 1, kv_heads=4)
    del model.metadata["attention.head_count_kv"]  # absent means: as many as heads
    for block in blocks(model):
        attention(model, block)
        feed_forward(model, block)
    return model


def llama_gqa():
    model = llama("llama-gqa", "bpe-smollm", 2, width=48, heads=6, layers=2, inner=72, tied=True)
    model.set(rope__freq_base=100000.0)
    for block in blocks(model):
        attention(model, block)
        feed_forward(model, block)
    return model


def llama_bias():
    """Biases everywhere the family may have them, and one key/value head for all."""
    model = llama("llama-bias", "spm", 3, kv_heads=1)
    for block in blocks(model):
        attention(model, block, biases="qkv", output_bias=True)
        feed_forward(model, block, biases=True)
    return model


def llama3():
    model = llama("llama3", "bpe-llama3", 4, heads=2, kv_heads=1, tied=True)
    model.set(rope__freq_base=5000.0)
    for block in blocks(model):
        attention(model, block)
        feed_forward(model, block)
    model.tensors["rope_freqs.weight"] = rope_factors_llama3(
        model.head_size // 2, 5000.0, factor=8.0, low=1.0, high=4.0, original=96)
    return model


def llama_linear():
    model = llama("llama-linear", "spm", 5)
    model.set(rope__scaling__type="linear", rope__scaling__factor=4.0)
    for block in blocks(model):
        attention(model, block)
        feed_forward(model, block)
    return model


def llama_yarn():
    model = llama("llama-yarn", "spm", 6, heads=2, kv_heads=2)
    model.set(rope__scaling__type="yarn", rope__scaling__factor=4.0,
              rope__scaling__original_context_length=256)
    for block in blocks(model):
        attention(model, block)
        feed_forward(model, block)
    return model


def mistral():
    """Heads that do not add up to the width, as in Mistral Nemo."""
    model = llama("mistral", "spm", 7, heads=3, kv_heads=1, head_size=16)
    model.set(rope__freq_base=1000000.0)
    for block in blocks(model):
        attention(model, block)
        feed_forward(model, block)
    return model


def qwen2(name, seed, **options):
    options = dict(width=32, layers=3, heads=4, kv_heads=2, inner=80, epsilon=0.04) | options
    model = base(name, "qwen2", "bpe-qwen2", seed, **options)
    model.set(rope__freq_base=1000000.0)
    for block in blocks(model):
        attention(model, block, biases="qkv")
        feed_forward(model, block)
    return model


def qwen2_plain():
    return qwen2("qwen2", 8)


def qwen2_yarn():
    model = qwen2("qwen2-yarn", 9, heads=2, kv_heads=1, tied=True)
    model.set(rope__scaling__type="yarn", rope__scaling__factor=2.0,
              rope__scaling__original_context_length=512, rope__freq_base=10000.0)
    return model


def qwen3(name, seed, **options):
    options = dict(width=36, layers=3, heads=4, kv_heads=2, inner=60, epsilon=0.06,
                   head_size=12) | options
    model = base(name, "qwen3", "bpe-qwen2", seed, **options)
    model.set(rope__freq_base=1000000.0)
    for block in blocks(model):
        attention(model, block, peak=1.0)
        model.norm(f"{block}.attn_q_norm", model.head_size, centre=1.2)
        model.norm(f"{block}.attn_k_norm", model.head_size, centre=1.2)
        feed_forward(model, block)
    return model


def qwen3_tied():
    return qwen3("qwen3-tied", 10, tied=True)


def qwen3_untied():
    return qwen3("qwen3-untied", 11, width=32, head_size=16, heads=2, kv_heads=1, inner=64)


def gemma3(name, seed, **options):
    options = dict(width=32, layers=6, heads=2, kv_heads=1, head_size=16, inner=48, epsilon=0.05,
                   tied=True, embedding=0.35, logits=4.0) | options
    model = base(name, "gemma3", "spm-gemma", seed, **options)
    model.set(rope__freq_base=1000000.0, attention__sliding_window=24)
    for block in blocks(model):
        attention(model, block, peak=1.0)
        model.norm(f"{block}.attn_q_norm", model.head_size, centre=1.2)
        model.norm(f"{block}.attn_k_norm", model.head_size, centre=1.2)
        model.norm(f"{block}.post_attention_norm", model.width, centre=0.9)
        feed_forward(model, block)
        model.norm(f"{block}.post_ffw_norm", model.width, centre=0.9)
    return model


def gemma3_plain():
    """No pattern key: five windowed layers, then one that sees everything."""
    return gemma3("gemma3", 12)


def gemma3_linear():
    """Linear scaling, which concerns the full layers only; a period of two; a window of 33."""
    model = gemma3("gemma3-linear", 13, layers=4, heads=4, kv_heads=2)
    model.set(rope__scaling__type="linear", rope__scaling__factor=2.0,
              rope__freq_base=8000.0, rope__freq_base_swa=5000.0, attention__sliding_window=33,
              attention__sliding_window_pattern=2)
    return model


def gemma3_softcap():
    """One flag a layer, an output of its own, capped logits."""
    model = gemma3("gemma3-softcap", 14, layers=4, tied=False, embedding=0.5, logits=6.0)
    model.set(attention__sliding_window_pattern=[True, False, False, True],
              final_logit_softcapping=30.0)
    return model


def phi3(name, seed, **options):
    options = dict(width=32, layers=3, heads=2, kv_heads=2, inner=64, epsilon=0.05) | options
    model = base(name, "phi3", "spm-phi3", seed, **options)
    model.set(rope__freq_base=10000.0)
    for block in blocks(model):
        attention(model, block, fused=True)
        feed_forward(model, block, fused=True)
    return model


def phi3_long():
    """Longrope: a context beyond 256 takes the long factors, a shorter one the short factors."""
    model = phi3("phi3-long", 15)
    original, context = 256, 1024
    magnitude = math.sqrt(1 + math.log(context / original) / math.log(original))
    model.set(rope__dimension_count=model.head_size, attention__sliding_window=0,
              rope__scaling__original_context_length=original, rope__scaling__type="longrope",
              rope__scaling__attn_factor=magnitude)
    pairs = model.head_size // 2
    model.tensors["rope_factors_long.weight"] = np.linspace(1.0, 9.0, pairs, dtype=np.float32)
    model.tensors["rope_factors_short.weight"] = np.linspace(1.0, 1.7, pairs, dtype=np.float32)
    return model


def phi3_partial():
    """Rotates 12 of 16 numbers a head; names a window, which llama.cpp does not apply."""
    model = phi3("phi3-partial", 16, kv_heads=1, tied=True)
    model.set(rope__dimension_count=12, attention__sliding_window=20,
              rope__scaling__original_context_length=1024)
    return model


def with_experts(name, architecture, vocabulary, seed, *, count, used, **options):
    options = dict(width=32, layers=2, heads=4, kv_heads=2, inner=24, epsilon=0.05) | options
    model = base(name, architecture, vocabulary, seed, **options)
    model.experts = count
    model.set(expert_count=count, expert_used_count=used)
    return model


def mixtral():
    """Llama with experts in place of its feed-forward layers."""
    model = with_experts("mixtral", "llama", "spm", 17, count=4, used=2, inner=32)
    model.set(rope__dimension_count=model.head_size)
    for block in blocks(model):
        attention(model, block)
        experts(model, block)
    return model


def mixtral_q4_0():
    """The same in blocks. No answers of llama.cpp's are kept: it rounds activations otherwise."""
    model = mixtral()
    model.name, model.quantised = "mixtral-q4_0", gguf.GGMLQuantizationType.Q4_0
    return model


def qwen2moe(inner=16, shared=40):
    """A shared expert of another width, with a gate; weights that do not add up to 1."""
    model = with_experts("qwen2moe", "qwen2moe", "bpe-qwen2", 18, count=6, used=3, inner=inner)
    model.set(feed_forward_length=80, expert_feed_forward_length=inner,
              expert_shared_feed_forward_length=shared, rope__freq_base=1000000.0)
    for block in blocks(model):
        attention(model, block, biases="qkv")
        experts(model, block, shared=shared, shared_router=True, out=2.5)
    return model


def qwen2moe_q8_0():
    """The same in blocks, of widths that these divide."""
    model = qwen2moe(inner=32, shared=64)
    model.name, model.quantised = "qwen2moe-q8_0", gguf.GGMLQuantizationType.Q8_0
    return model


def qwen3moe():
    """Query and key norms, a head size of its own, an expert width that is no multiple of 16."""
    model = with_experts("qwen3moe", "qwen3moe", "bpe-qwen2", 19, count=8, used=3, inner=20,
                         head_size=12, heads=2, kv_heads=1, tied=True)
    model.set(feed_forward_length=72, expert_feed_forward_length=20, rope__freq_base=1000000.0)
    for block in blocks(model):
        attention(model, block, peak=1.0)
        model.norm(f"{block}.attn_q_norm", model.head_size, centre=1.2)
        model.norm(f"{block}.attn_k_norm", model.head_size, centre=1.2)
        experts(model, block)
    return model


def olmoe():
    """Norms over all heads of a query and of a key; weights that do not add up to 1."""
    model = with_experts("olmoe", "olmoe", "bpe-qwen2", 20, count=8, used=4, kv_heads=4, inner=16)
    model.set(rope__freq_base=10000.0)
    for block in blocks(model):
        attention(model, block, peak=1.0)
        model.norm(f"{block}.attn_q_norm", model.width, centre=1.2)
        model.norm(f"{block}.attn_k_norm", model.width, centre=1.2)
        experts(model, block, out=2.5)
    return model


def granitemoe(name, seed, *, shared=0, **options):
    """Four scales: of the embedding, the residual, the scores and the logits."""
    options = dict(count=8, used=4, tied=True, embedding=0.1, logits=20.0) | options
    model = with_experts(name, "granitemoe", "bpe-smollm", seed, **options)
    model.set(rope__freq_base=10000.0, rope__dimension_count=model.head_size,
              embedding_scale=8.0, residual_scale=0.6, attention__scale=0.3, logit_scale=6.0)
    if shared:
        model.set(expert_shared_feed_forward_length=shared)
    for block in blocks(model):
        attention(model, block, out=1.2)
        experts(model, block, shared=shared)
    return model


def granitemoe_plain():
    return granitemoe("granitemoe", 21)


def granitemoe_shared():
    return granitemoe("granite-shared", 22, shared=40, used=2, tied=False, inner=16,
                      logits=27.0)


def parrot():
    """Says PHRASES after every prompt that ends with a line end, whatever came before: attention and
    feed-forward add nothing, and the output layer knows what follows what."""
    model = base("parrot", "qwen2", "bpe-parrot", 24, width=64, layers=1, heads=2, kv_heads=1,
                 inner=64, epsilon=1e-6)
    model.set(rope__freq_base=10000.0)
    attention(model, "blk.0", biases="qkv")
    feed_forward(model, "blk.0")
    for name in ("attn_output", "ffn_down"):
        model.tensors[f"blk.0.{name}.weight"] *= 0
    model.tensors["output_norm.weight"][:] = 1
    tokens, _ = tiny_vocabulary.byte_pair_tokens("bpe-parrot")
    line_end = tiny_vocabulary.byte_characters()[ord("\n")]
    script = [line_end, *tiny_vocabulary.PHRASES, "<|im_end|>"]
    embedding, output = model.tensors["token_embd.weight"], model.tensors["output.weight"]
    output *= 0.1
    for now, following in zip(script, script[1:]):
        direction = embedding[tokens.index(now)]
        output[tokens.index(following)] += direction / np.linalg.norm(direction) * 4
    return model


MODELS = [llama_plain, llama_gqa, llama_bias, llama3, llama_linear, llama_yarn, mistral,
          qwen2_plain, qwen2_yarn, qwen3_tied, qwen3_untied, gemma3_plain, gemma3_linear,
          gemma3_softcap, phi3_long, phi3_partial, mixtral, qwen2moe, qwen3moe, olmoe,
          granitemoe_plain, granitemoe_shared]
WITHOUT_REFERENCE = [mixtral_q4_0, qwen2moe_q8_0, parrot]


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for make in MODELS + WITHOUT_REFERENCE:
        model = make()
        path = out / f"{model.name}.gguf"
        model.write(path)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
