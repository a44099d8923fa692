#!/usr/bin/env python3
"""Makes golden.txt: what random blocks of every weight type mean, by an independent implementation.

Origin: the gguf Python package (pip install gguf), module gguf.quants, whose decoders are written in
numpy and share no code with ours. Run: make_golden.py > golden.txt

A line a type: name, number of weights, the blocks as hexadecimal, the weights as hexadecimal F32 bits.
Quants, group scales and high bits are uniformly random bytes; the F16 block scales are finite, of both
signs, and the last block's are subnormal. MXFP4 has seven blocks, of all kinds of exponent.
"""

import numpy as np
from gguf import GGMLQuantizationType, quants

# name -> (bytes a block, weights a block, offsets of the F16 numbers)
TYPES = {
    "F32": (4, 1, []),
    "F16": (2, 1, [0]),
    "BF16": (2, 1, []),
    "Q4_0": (18, 32, [0]),
    "Q4_1": (20, 32, [0, 2]),
    "Q5_0": (22, 32, [0]),
    "Q5_1": (24, 32, [0, 2]),
    "Q8_0": (34, 32, [0]),
    "Q2_K": (84, 256, [80, 82]),
    "Q3_K": (110, 256, [108]),
    "Q4_K": (144, 256, [0, 2]),
    "Q5_K": (176, 256, [0, 2]),
    "Q6_K": (210, 256, [208]),
    "IQ4_NL": (18, 32, [0]),
    "IQ4_XS": (136, 256, [0]),
    "MXFP4": (17, 32, []),
}


def random_blocks(rng, block_bytes, count, halves):
    blocks = rng.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    for offset in halves:
        numbers = (rng.uniform(-4, 4, count) * 2.0 ** rng.integers(-8, 4, count)).astype(np.float16)
        numbers[-1] = np.float16(3e-7)
        blocks[:, offset : offset + 2] = numbers.view(np.uint8).reshape(count, 2)
    return blocks


def main():
    rng = np.random.default_rng(20261122)
    for name, (block_bytes, block_weights, halves) in TYPES.items():
        count = 7 if name == "MXFP4" else max(3, 64 // block_weights)
        if name in ("F32", "BF16"):  # any finite number
            numbers = rng.normal(0, 3, count).astype(np.float32)
            blocks = numbers.view(np.uint8).reshape(count, 4)[:, 4 - block_bytes :]
        else:
            blocks = random_blocks(rng, block_bytes, count, halves)
        if name == "MXFP4":
            blocks[:, 0] = [0, 1, 2, 120, 133, 254, 255]
        data = np.ascontiguousarray(blocks).reshape(1, -1)
        weights = quants.dequantize(data, GGMLQuantizationType[name]).astype(np.float32).reshape(-1)
        assert weights.size == count * block_weights, name
        bits = "".join(f"{int(b):08x}" for b in weights.view(np.uint32))
        print(name, weights.size, data.tobytes().hex(), bits)


if __name__ == "__main__":
    main()
