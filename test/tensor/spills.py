#!/usr/bin/env python3
"""Finds vector registers that are spilled, or copied, inside the innermost loops of the kernels.

spills.py OBJDUMP ALLOWANCE OBJECT...           fails where a function has more than it is allowed
spills.py --write OBJDUMP ALLOWANCE OBJECT...   allows what there is now

A spill is a vector instruction with an operand in the function's frame and no index register (an
array on the stack that the program asked for has one). A line of the allowance: how many spills,
how many copies, the object, the function. Lower it when the code gets better; raise it only for a
reason that the commit gives.
"""

import re
import subprocess
import sys
from pathlib import Path

FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
VECTOR = re.compile(r"%[xyz]mm\d+")
COPY = re.compile(r"^vmov\w+ %([xyz])mm\d+,\s*%\1mm\d+$")
HOT = re.compile(r"(\w+<\w+>::)?(stream_panel|stream_file|multiply_\w+|multiply\d+|requantize|attend\w*)\b")
NOISE = ("ration::", "(anonymous namespace)::", "void ")


def short_name(name):
    """Without namespaces, return type and arguments."""
    for noise in NOISE:
        name = name.replace(noise, "")
    return re.sub(r"\(.*\)( const)?$", "", name).replace("> >", ">>")


def functions(listing):
    """Yields (name, [(address, mnemonic, operands)]) of an objdump listing."""
    name, body = None, []
    for line in listing.splitlines():
        if start := FUNCTION.match(line):
            if name:
                yield name, body
            name, body = short_name(start[1]), []
        elif instruction := INSTRUCTION.match(line):
            operands = instruction[3].split("#")[0].strip()
            body.append((int(instruction[1], 16), instruction[2], operands))
    if name:
        yield name, body


def innermost_loops(body):
    """The address ranges that a jump backwards closes and that hold no other such range."""
    loops = {}
    for address, mnemonic, operands in body:
        target = re.match(r"(?:0x)?([0-9a-f]+)\b", operands)
        if not mnemonic.startswith("j") or not target:
            continue
        begin = int(target[1], 16)
        if body[0][0] <= begin <= address:
            loops[begin] = max(address, loops.get(begin, 0))
    ranges = list(loops.items())

    def holds_another(begin, end):
        return any((b, e) != (begin, end) and begin <= b and e <= end for b, e in ranges)

    return [(begin, end) for begin, end in ranges if not holds_another(begin, end)]


def count(body):
    """(spills, copies) in the innermost loops of one function."""
    framed = any(
        mnemonic.startswith("mov") and re.match(r"%rsp,\s*%rbp$", operands)
        for _, mnemonic, operands in body
    )
    frame = re.compile(r"\((%rsp|%rbp)\)" if framed else r"\((%rsp)\)")
    loops = innermost_loops(body)
    spills = copies = 0
    for address, mnemonic, operands in body:
        if not any(begin <= address <= end for begin, end in loops):
            continue
        spills += bool(VECTOR.search(operands) and frame.search(operands))
        copies += bool(COPY.match(f"{mnemonic} {operands}"))
    return spills, copies


def read_objects(objdump, objects):
    """{(object, function): (spills, copies)} of products and attention, where they have loops."""
    found = {}
    for path in objects:
        listing = subprocess.run(
            [objdump, "-d", "--no-show-raw-insn", "--demangle", path],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name, body in functions(listing):
            if HOT.match(name) and innermost_loops(body):
                found[Path(path).name.split(".")[0], name] = count(body)
    return found


def read_allowance(text):
    lines = (line.split(maxsplit=3) for line in text.splitlines() if line and line[0] != "#")
    return {(where, name): (int(spills), int(copies)) for spills, copies, where, name in lines}


def write_allowance(found):
    lines = ["# spills, copies, object, function: what spills.py allows\n"]
    for (where, name), (spills, copies) in sorted(found.items()):
        if spills or copies:
            lines.append(f"{spills:3} {copies:3} {where} {name}\n")
    return "".join(lines)


def complaints(found, allowance):
    lines = []
    for key, counts in sorted(found.items()):
        allowed = allowance.get(key, (0, 0))
        if any(have > may for have, may in zip(counts, allowed)):
            lines.append(
                f"{key[0]} {key[1]}: found {counts[0]} spills and {counts[1]} copies in its"
                f" innermost loops, wanted at most {allowed[0]} and {allowed[1]}"
            )
    return lines


def main(arguments):
    write = arguments[:1] == ["--write"]
    objdump, allowance, *objects = arguments[write:]
    found = read_objects(objdump, objects)
    if write:
        Path(allowance).write_text(write_allowance(found))
        return 0
    for name in ("stream_panel<", "stream_file<", "multiply_tile<", "attend<"):
        if not any(function.startswith(name) for _, function in found):
            print(f"found no loop in any {name}...>, wanted the kernels")
            return 1
    problems = complaints(found, read_allowance(Path(allowance).read_text()))
    if problems:
        command = " ".join([sys.argv[0], "--write", *arguments])
        print(*problems, f"to allow what there is now: {command}", sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
