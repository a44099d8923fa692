"""all-MiniLM-L6-v2 through safetensors: words and vectors equal those of sentence-transformers
(data/reference/all-minilm-l6-v2.json). The model is pulled when it is not there; RATION_TEST_MODELS
may name a folder that has it."""

import json
import os
import pathlib
import subprocess

import program
from program import TINY, ProgramTest

NAME = "all-minilm-l6-v2"
MOST = 1e-3


class MiniLm(ProgramTest):
    @classmethod
    def setUpClass(cls):
        kept = pathlib.Path(os.environ.get("RATION_TEST_MODELS", "/nonexistent")) / NAME
        if not kept.exists():
            subprocess.run([program.PROGRAM, "pull", NAME], check=True)
            listed = subprocess.run([program.PROGRAM, "show", NAME, "--json"], check=True,
                                    capture_output=True)
            kept = pathlib.Path(json.loads(listed.stdout)["file"])
        cls.model = kept
        path = TINY.parent / "reference" / f"{NAME}.json"
        cls.texts = json.loads(path.read_text())["texts"]

    def vectors(self, *words, environment=None):
        outcome = self.run_program("embed", self.model, *[one["text"] for one in self.texts], "-q",
                                   "--truncate", *words, environment=environment)
        self.assertEqual(outcome.code, 0, outcome.err)
        return [json.loads(line) for line in outcome.out.splitlines()]

    def test_words_are_those_of_the_reference(self):
        for one in self.texts:
            outcome = self.run_program("tokenize", self.model, "--json", stdin=one["text"])
            ids = json.loads(outcome.out)["ids"]
            if len(one["ids"]) == 256:  # cut there
                ids = ids[:255] + ids[-1:]
            self.assertEqual(ids, one["ids"], one["text"])

    def test_vectors_are_those_of_the_reference(self):
        for isa in ("", "reference"):
            worst = 0
            for line, one in zip(self.vectors(environment={"RATION_ISA": isa}), self.texts,
                                 strict=True):
                self.assertEqual(line["tokens"], len(one["ids"]))
                off = max(abs(a - b) for a, b in zip(line["embedding"], one["vector"], strict=True))
                worst = max(worst, off)
                self.assertLess(off, MOST, one["text"])
            print(f"  {isa or 'best'} kernels: largest difference {worst:.2g}", flush=True)

    def test_threads_change_nothing(self):
        self.assertEqual(self.vectors("--threads", 1), self.vectors("--threads", 2))


if __name__ == "__main__":
    program.main()
