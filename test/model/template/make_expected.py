#!/usr/bin/env python3
"""Writes expected.txt: what jinja2 renders from each real template and each conversation.

    make_expected.py FOLDER_OR_FILE...  > expected.txt

Takes *.jinja files and the tokenizer.chat_template of *.gguf files (needs the gguf package then). The
file holds no template text: a line "template SHA256 NAME" starts the results of the template whose
bytes have that sha256, then one line a conversation: its name and "error", or the length in bytes and
the first 16 hex digits of the sha256 of the UTF-8 text.
"""

import hashlib
import json
import pathlib
import sys

import reference


def sources(paths):
    for path in map(pathlib.Path, paths):
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.suffix == ".jinja":
                yield file.stem, file.read_bytes().decode()
            elif file.suffix == ".gguf":
                import gguf
                field = gguf.GGUFReader(file).get_field("tokenizer.chat_template")
                if field is not None:
                    yield file.stem, field.contents()


def main():
    here = pathlib.Path(__file__).parent
    conversations = json.loads((here / "conversations.json").read_text())
    seen = set()
    for name, source in sources(sys.argv[1:]):
        digest = hashlib.sha256(source.encode()).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        print("template", digest, name)
        render = reference.compiled(source)
        for conversation in conversations:
            text = render(reference.variables(conversation))
            if text is None:
                print(conversation["name"], "error")
            else:
                data = text.encode()
                print(conversation["name"], len(data), hashlib.sha256(data).hexdigest()[:16])


main()
