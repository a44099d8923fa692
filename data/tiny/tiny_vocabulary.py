"""The vocabularies of the tiny models: small, but complete enough to tokenise any text.

    spm          SentencePiece: 256 bytes, letters, some 30 pieces; BOS, a space in front
    spm-phi3     the same with the control words that llama.cpp wants in a Phi-3
    spm-gemma    the same without the space in front, with turn marks
    bpe-smollm, bpe-qwen2, bpe-llama3
    bpe-parrot   bpe-qwen2, whole phrases, and a template with tools and thinking
                 byte pairs: 256 byte characters, some 30 merges, the family's control words
"""

import gguf

NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6  # token types of the format

# Merges in order of rank; every left and right side is a byte character or an earlier result.
MERGES = """Ġ t|h e|i n|r e|o n|e r|Ġ a|Ġt he|a t|e n|o r|Ġ s|Ġ w|i t|e s|o u|in g|Ġ c|i s|Ġ b|
Ġ f|e d|l l|Ġ m|a n|Ġ p|Ġa n|Ġan d|a l|Ġ o|Ġo f|0 0""".replace("\n", "").split("|")

PIECES = ["▁t", "he", "in", "re", "on", "er", "▁a", "▁the", "at", "en", "or", "▁s", "▁w", "it", "es",
          "ou", "ing", "▁c", "is", "▁b", "▁f", "ed", "ll", "▁m", "an", "▁p", "▁an", "▁and", "al",
          "▁o", "▁of", "00"]

SPECIALS = {
    "spm": ["<unk>", "<s>", "</s>"],
    "spm-phi3": ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"],
    "spm-gemma": ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
    "bpe-smollm": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "bpe-qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "bpe-llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                   "<|end_header_id|>", "<|eot_id|>"],
}

# What the parrot says, a token each; the marks of a call are control tokens, as Mistral's are.
PHRASES = ["<think>", "\nBern is", " a city.\n", "</think>", "\n\nI ", "look.", "<tool_call>",
           "\n{\"name\": \"weather\",", " \"arguments\": {\"city\": ", "\"Bern\", \"days\"",
           ": 2}}\n", "</tool_call>"]
PHRASE_TYPES = [CONTROL if "tool_call" in phrase else USER for phrase in PHRASES]

CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
          "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


TOOLS_AND_THINKING = (
    "{% if tools %}{{ '<|im_start|>system\\n' + tools | tojson + '<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.reasoning_content %}"
    "{{ '<think>' + message.reasoning_content + '</think>' }}{% endif %}{{ message.content }}"
    "{% for call in message.tool_calls or [] %}"
    "{{ '<tool_call>' + call.function | tojson + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>' }}{% endif %}"
    "{% endif %}")


def byte_characters():
    """The 256 characters that byte-pair vocabularies write bytes with, in order of the byte."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def byte_pair_tokens(vocabulary):
    words = byte_characters() + [merge.replace(" ", "") for merge in MERGES]
    if vocabulary == "bpe-parrot":
        tokens, types = byte_pair_tokens("bpe-qwen2")
        return tokens + PHRASES, types + PHRASE_TYPES
    specials = SPECIALS[vocabulary]
    return words + specials, [NORMAL] * len(words) + [CONTROL] * len(specials)


def sentence_piece_tokens(vocabulary):
    """(tokens, scores, types); a piece that comes earlier in PIECES has the higher score."""
    specials = SPECIALS[vocabulary]
    types = [UNKNOWN if word == "<unk>" else CONTROL for word in specials]
    tokens = specials + [f"<0x{byte:02X}>" for byte in range(256)]
    types += [BYTE] * 256
    scores = [0.0] * len(tokens)
    letters = sorted({letter for piece in PIECES for letter in piece} |
                     set("▁abcdefghijklmnopqrstuvwxyz"))
    for rank, piece in enumerate(PIECES + letters):
        tokens.append(piece)
        scores.append(-float(rank))
        types.append(NORMAL)
    return tokens, scores, types


def size(vocabulary):
    if vocabulary.startswith("bpe"):
        return len(byte_pair_tokens(vocabulary)[0])
    return len(sentence_piece_tokens(vocabulary)[0])


def add(writer: gguf.GGUFWriter, vocabulary):
    if vocabulary.startswith("bpe"):
        tokens, types = byte_pair_tokens(vocabulary)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre({"bpe-smollm": "smollm", "bpe-qwen2": "qwen2",
                                  "bpe-llama3": "llama-bpe", "bpe-parrot": "qwen2"}[vocabulary])
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges(MERGES)
    else:
        tokens, scores, types = sentence_piece_tokens(vocabulary)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(types)
        writer.add_unk_token_id(tokens.index("<unk>"))
        writer.add_add_space_prefix(vocabulary != "spm-gemma")
    begin, end = {"spm": ("<s>", "</s>"), "spm-phi3": ("<s>", "<|endoftext|>"), "spm-gemma": ("<bos>", "<eos>"),
                  "bpe-smollm": ("<|im_start|>", "<|im_end|>"),
                  "bpe-qwen2": ("<|endoftext|>", "<|im_end|>"),
                  "bpe-parrot": ("<|endoftext|>", "<|im_end|>"),
                  "bpe-llama3": ("<|begin_of_text|>", "<|eot_id|>")}[vocabulary]
    writer.add_bos_token_id(tokens.index(begin))
    writer.add_eos_token_id(tokens.index(end))
    writer.add_add_bos_token(vocabulary.startswith("spm") or vocabulary == "bpe-llama3")
    if vocabulary == "bpe-parrot":
        writer.add_chat_template(TOOLS_AND_THINKING)
    elif "<|im_start|>" in tokens:
        writer.add_chat_template(CHATML)
