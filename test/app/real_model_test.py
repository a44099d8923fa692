"""The program on a real model (the catalogue's default; pulled when it is not there): memory limits
held against what the kernel counts, a model file that vanishes under it, Ctrl-C."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import program
from program import ProgramTest

MODEL = "smollm2-135m"
LIMITS_MB = (20, 80, 100, 105, 110, 112, 120, 140, 200, 300, 1000)
LONG = ("-n", 2000, "--temperature", 0, "--raw")


def real_model():
    """Where the model's file is: RATION_TEST_MODELS, or this user's own store."""
    kept = os.environ.get("RATION_TEST_MODELS")
    if kept and (pathlib.Path(kept) / f"{MODEL}.gguf").exists():
        return pathlib.Path(kept) / f"{MODEL}.gguf"
    subprocess.run([program.PROGRAM, "pull", MODEL], check=True)
    listed = subprocess.run([program.PROGRAM, "show", MODEL, "--json"], check=True,
                            capture_output=True)
    return pathlib.Path(json.loads(listed.stdout)["file"])


class RealModel(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.model = real_model()

    def start(self, *words):
        return subprocess.Popen(
            [program.PROGRAM, *map(str, words)], cwd=self.home, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_for_text(self, process):
        self.assertNotEqual(process.stdout.read(1), b"", "it ended without a word")

    def peak_resident(self, *words):
        """Exit code, VmHWM (file pages included) in bytes, and standard error."""
        started = self.start(*words)
        peak = 0
        while started.poll() is None:
            try:
                status = pathlib.Path(f"/proc/{started.pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                break
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak = max(peak, int(found.group(1)) * 1024 if found else 0)
            time.sleep(0.002)
        _, err = started.communicate()
        return started.returncode, peak, err.decode()

    def test_memory_limits_are_held(self):
        answered = 0
        for limit in LIMITS_MB:
            with self.subTest(limit=f"{limit} MB"):
                code, peak, err = self.peak_resident("run", self.model, "Tell me about rivers.",
                                                     "-n", 400, "--memory", f"{limit}MB")
                bytes_max = limit * 10**6 + max(limit * 10**6 // 20, 16 * 2**20)
                print(f"  --memory {limit}MB: exit {code}, peak {peak / 1e6:.1f} MB", flush=True)
                self.assertIn(code, (0, 3), err)
                if code == 3:
                    self.assertRegex(err, r"MB short")
                    self.assertRegex(err, r"fits from|needs more than")
                    continue
                answered += 1
                self.assertLessEqual(peak, bytes_max)
        self.assertGreater(answered, 3)
        self.assertLess(answered, len(LIMITS_MB) - 2)

    def test_packed_weights_give_the_same_answer_and_go_with_the_model(self):
        model = self.copy()
        words = ("run", model, "The river", "-n", 60, "--raw", "--temperature", 0, "--json")
        plain = json.loads(self.run_program(*words, "--packed", "off").out)
        self.assertEqual([p.name for p in self.home.iterdir()], ["model.gguf"])
        first = self.run_program(*words)
        self.assertRegex(first.err, "packing")
        packed = self.home / "model.gguf.panels"
        made = packed.stat()
        self.assertLess(made.st_size, model.stat().st_size * 1.01)
        second = self.run_program(*words)
        self.assertNotRegex(second.err, "packing")
        self.assertEqual(packed.stat().st_mtime_ns, made.st_mtime_ns)
        for outcome in (first, second):  # ids and log-probabilities, to the last bit
            self.assertEqual(json.loads(outcome.out)["tokens"], plain["tokens"])
        os.truncate(packed, 50_000_000)
        mended = self.run_program(*words)
        self.assertEqual(json.loads(mended.out)["tokens"], plain["tokens"])
        self.assertEqual(packed.stat().st_size, made.st_size)

    def test_packed_weights_keep_to_the_disk_limit(self):
        model = self.copy()
        words = ("run", model, "Hi", "-n", 2)
        refused = self.run_program(*words, "--disk", "1MB")
        self.assertEqual(refused.code, 0, refused.err)
        self.assertRegex(refused.err, "not packed: packing the weights needs .* MB short")
        self.assertFalse((self.home / "model.gguf.panels").exists())
        self.assertEqual(self.run_program(*words).code, 0)
        other = pathlib.Path(shutil.copy(self.model, self.home / "other.gguf"))
        room = int(model.stat().st_size * 1.5)  # for one
        self.assertEqual(self.run_program("run", other, "Hi", "-n", 2, "--disk", room).code, 0)
        self.assertEqual(sorted(p.name for p in self.home.glob("*.gguf*")),
                         ["model.gguf", "other.gguf", "other.gguf.panels"])

    def test_answers_do_not_depend_on_how_panels_are_walked(self):
        tuned = json.loads(self.run_program("doctor", "--tune", "--json").out)["tuning"]
        file = next((self.home / "store").glob("tuning-*.json"))
        kept = json.loads(file.read_text())
        self.assertEqual(kept["types"], tuned)
        words = ("run", self.copy(), "The river", "-n", 40, "--raw", "--temperature", 0, "--json")
        wanted = json.loads(self.run_program(*words).out)["tokens"]
        for walk in ({"ahead_bytes": 64, "panels": 1}, {"ahead_bytes": 8192, "panels": 4}):
            kept["types"] = {name: walk for name in tuned}
            file.write_text(json.dumps(kept))
            self.assertEqual(json.loads(self.run_program(*words).out)["tokens"], wanted, walk)

    def test_packed_weights_of_a_folder_that_is_not_ours_lie_in_the_cache(self):
        blobs = self.home / "blobs"
        blobs.mkdir()
        shutil.copy(self.model, blobs / "model.gguf")
        blobs.chmod(0o555)
        self.addCleanup(blobs.chmod, 0o755)
        if os.access(blobs, os.W_OK):
            self.skipTest("this user may write everywhere")
        outcome = self.run_program("run", blobs / "model.gguf", "Hi", "-n", 2)
        self.assertEqual(outcome.code, 0, outcome.err)
        self.assertEqual(len(list((self.home / "store" / "packed").iterdir())), 1)

    def copy(self):
        return pathlib.Path(shutil.copy(self.model, self.home / "model.gguf"))

    def test_a_file_deleted_in_use_goes_on(self):
        started = self.start("run", self.copy(), "Once upon a time", "-n", 200, "--raw",
                             "--temperature", 0)
        self.wait_for_text(started)
        (self.home / "model.gguf").unlink()
        _, err = started.communicate(timeout=120)
        self.assertEqual(started.returncode, 0, err)

    def test_a_file_truncated_in_use_ends_with_words_and_4(self):
        started = self.start("run", self.copy(), "Once upon a time", *LONG)
        self.wait_for_text(started)
        os.truncate(self.home / "model.gguf", 10_000_000)
        _, err = started.communicate(timeout=120)
        self.assertEqual(started.returncode, 4, err)
        self.assertRegex(err.decode(), r"model\.gguf.*(truncated|changed)")

    def test_control_c_shows_the_bill_and_ends_with_130(self):
        started = self.start("run", self.model, "Once upon a time", *LONG)
        self.wait_for_text(started)
        started.send_signal(signal.SIGINT)
        _, err = started.communicate(timeout=20)
        self.assertEqual(started.returncode, 130, err)
        self.assertRegex(err.decode(), r"tokens .* decode .* cancelled")

    def test_a_reader_that_goes_away_ends_the_run(self):
        piped = subprocess.run(
            f"'{program.PROGRAM}' run '{self.model}' 'Once upon a time' -n 2000 --raw | head -c 20",
            shell=True, capture_output=True, timeout=120, env=self.environment(), check=False)
        self.assertEqual(len(piped.stdout), 20)


if __name__ == "__main__":
    program.main()
