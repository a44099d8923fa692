#!/usr/bin/env python3
"""Fills in cases.json: what jinja2 makes of each case. Run it after adding or changing a case.

A case has a "group" (what it is about), a "template" and perhaps "variables". This script adds
"expected", the text, or "error": true where jinja2 raises anything. Where Ration differs on purpose, the
case says why in "departs"; its outcome is then Ration's own, written by hand, and must differ from
jinja2's.
"""

import json
import pathlib

import reference


def outcome(case):
    values = reference.variables({"messages": [], "arguments": case.get("variables", {})})
    text = reference.compiled(case["template"])(values)
    return {"error": True} if text is None else {"expected": text}


def main():
    path = pathlib.Path(__file__).parent / "cases.json"
    lines = []
    for case in json.loads(path.read_text()):
        found = outcome(case)
        ours = {key: case.pop(key) for key in ("expected", "error") if key in case}
        if "departs" in case:
            assert ours and ours != found, f"does not depart: {case}"
            found = ours
        lines.append(json.dumps(case | found, ensure_ascii=False))
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
