"""Runs the program in a home of its own. Tests are given its path and the folder of tiny models."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 2 else None
TINY = pathlib.Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else None


class Outcome:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


class ProgramTest(unittest.TestCase):
    """Every test has an empty home; nothing it does reaches the user's own files."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.home = pathlib.Path(self.folder.name)

    def environment(self, **extra):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RATION_", "XDG_", "HF_"))}
        return {**kept, "HOME": str(self.home), "RATION_HOME": str(self.home / "store"), **extra}

    def run_program(self, *words, stdin="", environment=None, timeout=60):
        done = subprocess.run(
            [PROGRAM, *map(str, words)], input=stdin.encode(), capture_output=True, timeout=timeout,
            env=self.environment(**(environment or {})), cwd=self.home, check=False)
        return Outcome(done.returncode, done.stdout.decode(errors="replace"),
                       done.stderr.decode(errors="replace"))

    def refuses(self, code, pattern, *words, **options):
        """The program ends with `code`, prints nothing on standard output, and says `pattern`."""
        outcome = self.run_program(*words, **options)
        self.assertEqual(outcome.code, code, outcome.err)
        self.assertEqual(outcome.out, "")
        self.assertRegex(outcome.err, re.compile(pattern))
        return outcome


def main():
    if PROGRAM is None:
        sys.exit("usage: X_test.py PROGRAM FOLDER_OF_TINY_MODELS")
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
