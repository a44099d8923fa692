"""ration embed on tiny models: the vectors, how texts come in, and what is refused."""

import json
import math

import program
from program import TINY, ProgramTest

DONE, USAGE, OVER_BUDGET, BAD_FILE = 0, 2, 3, 4


class Embed(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.answers = json.loads((TINY / "bert.json").read_text())

    def embed(self, *words, model="bert", **options):
        outcome = self.run_program("embed", TINY / model, *words, "-q", **options)
        self.assertEqual(outcome.code, DONE, outcome.err)
        return [json.loads(line) for line in outcome.out.splitlines()]

    def test_a_line_of_json_for_each_text(self):
        lines = self.embed("the cat", "dogs sat on the mat", "")
        self.assertEqual([line["index"] for line in lines], [0, 1, 2])
        self.assertEqual([list(line) for line in lines], [["index", "tokens", "embedding"]] * 3)
        self.assertEqual(lines[0]["tokens"], 4)
        self.assertEqual(lines[2]["tokens"], 2)
        for line in lines:
            self.assertEqual(len(line["embedding"]), 24)
            self.assertAlmostEqual(math.hypot(*line["embedding"]), 1, places=6)

    def test_folder_and_gguf_give_the_same_vectors(self):
        texts = [one["text"] for one in self.answers["texts"]][:3]
        self.assertEqual(self.embed(*texts), self.embed(*texts, model="bert.gguf"))

    def test_texts_come_from_arguments_a_file_or_standard_input(self):
        wanted = self.embed("the cat", "", "a dog")
        (self.home / "texts.txt").write_text("the cat\n\na dog\r\n")
        self.assertEqual(self.embed("-f", "texts.txt"), wanted)
        self.assertEqual(self.embed(stdin="the cat\n\na dog"), wanted)

    def test_a_vector_depends_on_its_text_alone(self):
        texts = [f"the cat {'sat on the mat ' * count}" for count in range(60)]
        together = self.embed(*texts, "--threads", 2)
        for index in (0, 7, 59):
            alone = self.embed(texts[index], "--threads", 1)
            self.assertEqual(alone[0]["embedding"], together[index]["embedding"])

    def test_decoders_make_vectors_too(self):
        long_text = "some text that takes several steps " * 20
        for model in ("llama-gqa.gguf", "gemma3.gguf", "qwen2moe.gguf"):
            lines = self.embed("hello", long_text, model=model)
            self.assertAlmostEqual(math.hypot(*lines[1]["embedding"]), 1, places=6)
            self.assertNotEqual(lines[0]["embedding"], lines[1]["embedding"])
            self.assertEqual(self.embed(long_text, "--memory", "40MB", model=model)[0]["embedding"],
                             lines[1]["embedding"])

    def test_a_text_beyond_the_context_is_refused_or_cut_where_asked(self):
        long_text = "the cat " * 300
        self.refuses(USAGE, r"text 2: the text has 602 tokens, the context holds 430; --truncate",
                     "embed", TINY / "bert", "the cat", long_text)
        cut = self.embed("--truncate", long_text)
        self.assertEqual(cut[0]["tokens"], 430)
        self.assertEqual(cut[0]["embedding"], self.embed("the cat " * 214)[0]["embedding"])
        self.assertEqual(self.embed("-c", 16, "--truncate", long_text)[0]["tokens"], 16)

    def test_the_bill_is_on_standard_error(self):
        outcome = self.run_program("embed", TINY / "bert", "the cat")
        self.assertRegex(outcome.err, r"4 \+ 0 tokens")

    def test_an_encoder_writes_no_text(self):
        self.refuses(BAD_FILE, r"makes vectors of texts, and writes none", "run",
                     TINY / "bert.gguf", "hello", "-q")
        self.refuses(BAD_FILE, r"makes vectors of texts, and writes none", "chat",
                     TINY / "bert.gguf")

    def test_show_and_tokenize_read_the_folder(self):
        shown = json.loads(self.run_program("show", TINY / "bert", "--json").out)
        self.assertEqual((shown["family"], shown["context"], shown["width"]), ("bert", 430, 24))
        for one in self.answers["texts"]:
            outcome = self.run_program("tokenize", TINY / "bert", "--json", stdin=one["text"])
            self.assertEqual(json.loads(outcome.out)["ids"], one["ids"], one["text"])

    def test_no_text_and_two_sources_are_refused(self):
        self.refuses(USAGE, "there is no text", "embed", TINY / "bert", stdin="")
        self.refuses(USAGE, "wanted one of them", "embed", TINY / "bert", "x", "-f", "-")
        self.refuses(OVER_BUDGET, "short", "embed", TINY / "bert", "x", "--memory", "1MB")


if __name__ == "__main__":
    program.main()
