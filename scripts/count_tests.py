#!/usr/bin/env python3
"""Counts the test cases of ctest runs: count_tests.py FOLDER... prints "PASSED FAILED SKIPPED".

A folder holds ctest.xml (ctest --output-junit) and cases/ (what GTEST_OUTPUT=xml:cases/ left). A
GoogleTest program counts case by case, any other ctest entry as one. A program that died or failed
without a failing case (a leak at exit, a timeout) counts as one failure.
"""
import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def number(element, name):
    return int(element.get(name) or 0)


def count(folder):
    """(passed, failed, skipped) of one ctest run."""
    entries = xml.parse(folder / "ctest.xml").getroot()
    skipped = number(entries, "skipped") + number(entries, "disabled")
    failed_entries = number(entries, "failures") + number(entries, "errors")
    passed = failed = programs = failed_programs = 0
    for report in sorted((folder / "cases").glob("*.xml")):
        cases = list(xml.parse(report).getroot().iter("testcase"))
        bad = sum(case.find("failure") is not None for case in cases)
        left_out = sum(
            case.find("skipped") is not None or case.get("status") == "notrun" for case in cases
        )
        passed += len(cases) - bad - left_out
        failed += bad
        skipped += left_out
        programs += 1
        failed_programs += bad > 0
    dead = max(0, failed_entries - failed_programs)
    others = number(entries, "tests") - number(entries, "skipped") - number(entries, "disabled")
    return passed + max(0, others - programs - dead), failed + dead, skipped


def main():
    totals = [sum(column) for column in zip(*(count(Path(name)) for name in sys.argv[1:]))]
    print(*(totals or [0, 0, 0]))


if __name__ == "__main__":
    main()
