"""The command line on tiny models: answers, bills, refusals and exit codes."""

import functools
import http.server
import json
import math
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
import time

import program
from program import TINY, ProgramTest

DONE, FAILED, USAGE, OVER_BUDGET, BAD_FILE, NETWORK, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Answers(ProgramTest):
    def answer(self, *words, model="llama-gqa", **options):
        outcome = self.run_program("run", TINY / f"{model}.gguf", *words, "--json", "-q", **options)
        self.assertEqual(outcome.code, DONE, outcome.err)
        return json.loads(outcome.out)

    def test_json_has_text_tokens_finish_and_bill(self):
        answer = self.answer("hello", "-n", 5, "--temperature", 0)
        self.assertEqual(list(answer), ["text", "tokens", "finish_reason", "bill"])
        self.assertEqual(len(answer["tokens"]), 5)
        self.assertEqual(list(answer["tokens"][0]), ["id", "text", "logprob"])
        self.assertTrue(all(token["logprob"] <= 0 for token in answer["tokens"]))
        self.assertEqual(answer["finish_reason"], "length")
        bill = answer["bill"]
        self.assertEqual(bill["tokens"]["generated"], 5)
        self.assertEqual(set(bill["ms"]), {"queue", "load", "prefill", "decode"})
        self.assertGreater(bill["peak_bytes_by_tag"]["weights"], 100_000)
        self.assertLessEqual(bill["peak_bytes_by_tag"]["kv"], bill["peak_bytes"])
        self.assertIsNone(bill["usd"])
        self.assertEqual(bill["stop_cause"], "tokens")
        if bill["energy_j"] is not None:
            energy = bill["energy_j"]
            self.assertLessEqual(energy["low"], energy["best"])
            self.assertLessEqual(energy["best"], energy["high"])

    def test_the_same_seed_gives_the_same_answer(self):
        words = ("hello", "-n", 16, "--temperature", 1.5, "--top-k", 0, "--top-p", 1, "--min-p", 0)
        first = self.answer(*words, "--seed", 7)
        self.assertEqual(self.answer(*words, "--seed", 7)["tokens"], first["tokens"])
        self.assertNotEqual(self.answer(*words, "--seed", 8)["tokens"], first["tokens"])

    def test_threads_and_memory_do_not_change_the_answer(self):
        words = ("some longer prompt, so that chunks differ", "-n", 16, "--temperature", 0)
        first = self.answer(*words)
        self.assertEqual(self.answer(*words, "--threads", 1)["tokens"], first["tokens"])
        self.assertEqual(self.answer(*words, "--memory", "40MB")["tokens"], first["tokens"])

    def test_the_prompt_comes_from_argument_file_or_standard_input(self):
        words = ("-n", 4, "--temperature", 0)
        first = self.answer("good day", *words)
        self.assertEqual(self.answer(*words, stdin="good day")["tokens"], first["tokens"])
        (self.home / "prompt.txt").write_text("good day")
        self.assertEqual(self.answer("-f", "prompt.txt", *words)["tokens"], first["tokens"])

    def test_raw_skips_the_template(self):
        shaped = self.answer("good day", "-n", 1)["bill"]["tokens"]["prompt"]
        raw = self.answer("good day", "-n", 1, "--raw")["bill"]["tokens"]["prompt"]
        self.assertLess(raw, shaped)

    def test_a_stop_text_ends_the_answer_before_it(self):
        whole = self.answer("hello", "-n", 12, "--temperature", 0, model="gemma3-linear")
        stop = whole["text"][3:6]
        answer = self.answer("hello", "-n", 12, "--temperature", 0, "--stop", stop,
                             model="gemma3-linear")
        self.assertEqual(answer["text"], whole["text"][:whole["text"].index(stop)])
        self.assertEqual(answer["finish_reason"], "stop")

    def test_guessed_tokens_change_no_answer_and_are_on_the_bill(self):
        words = ("one two one two one two one two", "-n", 40, "--raw", "--seed", 3)
        for temperature in (0, 0.5):
            on = self.answer(*words, "--temperature", temperature)
            off = self.answer(*words, "--temperature", temperature, "--speculate", "off")
            self.assertEqual(on["tokens"], off["tokens"])
            self.assertLessEqual(on["bill"]["tokens"]["accepted"], on["bill"]["tokens"]["drafted"])
            self.assertNotIn("drafted", off["bill"]["tokens"])
        own = self.answer(*words, model="qwen2")
        drafted = self.answer(*words, "--draft", TINY / "qwen3-tied.gguf", model="qwen2")
        self.assertEqual(drafted["tokens"], own["tokens"])
        self.refuses(USAGE, "gemma3.gguf cannot draft for qwen2: found a vocabulary of 322 tokens",
                     "run", TINY / "qwen2.gguf", "hi", "--draft", TINY / "gemma3.gguf")
        self.refuses(USAGE, "wanted auto, ngram or off", "run", TINY / "qwen2.gguf", "hi",
                     "--speculate", "on")

    def test_the_bill_goes_to_standard_error_and_quiet_silences_it(self):
        loud = self.run_program("run", TINY / "qwen2.gguf", "hello", "-n", 3, "--seed", 1)
        self.assertRegex(loud.err, r"\d+ \+ 3 tokens .* prefill .* decode .* peak ")
        self.assertRegex(loud.err, r"context \d+ of \d+ tokens")
        quiet = self.run_program("run", TINY / "qwen2.gguf", "hello", "-n", 3, "-q")
        self.assertEqual(quiet.err, "")

    def test_a_tariff_puts_money_on_the_bill(self):
        (self.home / "tariff.toml").write_text(
            '[tariff]\nusd_per_million_tokens = 2.0\nsource = "a contract"\ndate = "2026-01-31"\n')
        bill = self.answer("hello", "-n", 5, "--config", "tariff.toml")["bill"]
        tokens = bill["tokens"]["prompt"] + bill["tokens"]["generated"]
        self.assertTrue(math.isclose(bill["usd"], tokens * 2e-6, rel_tol=0.01))
        found = self.home / ".config/ration"
        found.mkdir(parents=True)
        shutil.copy(self.home / "tariff.toml", found / "config.toml")
        self.assertIsNotNone(self.answer("hello", "-n", 5)["bill"]["usd"])


class Configuration(ProgramTest):
    """What the command line does not say comes from the environment, then from the file."""

    def tokens(self, *words, **environment):
        outcome = self.run_program("run", TINY / "qwen2.gguf", "hello", "--json", "-q", *words,
                                   environment=environment)
        self.assertEqual(outcome.code, DONE, outcome.err)
        return len(json.loads(outcome.out)["tokens"])

    def test_sources_go_before_each_other_in_the_documented_order(self):
        file = self.home / "ration.toml"
        file.write_text("[defaults]\nmax-tokens = 2\n")
        named = {"RATION_CONFIG": str(file)}
        self.assertEqual(self.tokens(**named), 2)
        file.write_text("[defaults]\nmax-tokens = 2\n[run]\nmax-tokens = 3\n[serve]\nport = 1\n")
        self.assertEqual(self.tokens(**named), 3)
        self.assertEqual(self.tokens(RATION_MAX_TOKENS="4", **named), 4)
        self.assertEqual(self.tokens("-n", 5, RATION_MAX_TOKENS="4", **named), 5)

    def test_the_model_and_flags_too(self):
        (self.home / "ration.toml").write_text(f'[run]\nmodel = "{TINY / "qwen2.gguf"}"\n')
        named = {"RATION_CONFIG": str(self.home / "ration.toml"), "RATION_MAX_TOKENS": "3",
                 "RATION_JSON": "yes", "RATION_QUIET": "0"}
        outcome = self.run_program("run", "-f", "-", stdin="hi", environment=named)
        self.assertEqual(len(json.loads(outcome.out)["tokens"]), 3, outcome.err)
        self.refuses(USAGE, "RATION_JSON: found 'maybe', wanted true or false", "list",
                     environment={"RATION_JSON": "maybe"})
        self.refuses(USAGE, "RATION_PORT: found 'x', wanted a number from 0", "serve",
                     environment={"RATION_PORT": "x"})

    def test_check_finds_what_a_command_would_trip_over(self):
        file = self.home / "ration.toml"
        for text, pattern in [
                ("[serve]\nprot = 1\n", r"line 2: \[serve\] unknown key 'prot', did you mean 'port'"),
                ("[serve]\nport = 70000\n", r"line 2: \[serve\] port: found '70000'"),
                ("[serve]\nmax-tokens = 3\n", r"\[serve\] unknown key 'max-tokens'"),
                ("[serve]\nport = {}\n", r"'port' is not a text, number or boolean"),
                ("[sevre]\n", r"unknown key 'sevre', did you mean 'serve'"),
                ("[defaults]\nmemory = '3XB'\n", r"line 2: \[defaults\] memory: found '3XB'"),
                ("[serve\n", r"line 1")]:
            file.write_text(text)
            self.refuses(USAGE, pattern, "config", "check", "ration.toml")
        file.write_text("[serve]\nport = 8080\n")
        self.assertRegex(self.run_program("config", "check", file).out, "ration.toml is fine")
        self.refuses(USAGE, "wanted check, check FILE, schema or key NAME", "config", "chek")

    def test_the_schema_is_the_one_in_the_docs_and_every_key_of_it_is_known(self):
        schema = json.loads(self.run_program("config", "schema").out)
        docs = pathlib.Path(__file__).resolve().parents[2] / "docs/config.schema.json"
        self.assertEqual(json.loads(docs.read_text()), schema,
                         "ration config schema | python3 -m json.tool > docs/config.schema.json")
        file = self.home / "ration.toml"
        for table, rows in schema["properties"].items():
            if table == "models":
                table, rows = "models.any", rows["additionalProperties"]
            several = rows["type"] == "array"
            title = f"[[{table}]]" if several else f"[{table}]"
            for key in (rows["items"] if several else rows)["properties"]:
                file.write_text(f"{title}\n{key} = {{}}\n")  # a table fits nowhere: no key is unknown
                self.refuses(USAGE, r"line \d: .*is not a", "config", "check", file)


class Refusals(ProgramTest):
    def test_a_prompt_longer_than_the_context_is_never_cut(self):
        self.refuses(USAGE, r"the prompt has \d{3,} tokens, the context holds 64",
                     "run", TINY / "llama-plain.gguf", "word " * 100, "--context", 64, "-q")

    def test_too_little_memory_names_the_shortfall_and_what_would_do(self):
        outcome = self.refuses(OVER_BUDGET, r"the limit is 5\.00 MB: \S+ [kM]?B short",
                               "run", TINY / "llama-plain.gguf", "hi", "--memory", "5MB")
        self.assertNotIn(str(TINY), outcome.err)
        self.refuses(OVER_BUDGET, r"fits from \d+ MB", "run", TINY / "llama-plain.gguf", "hi",
                     "--memory", "7MB")

    def test_a_wrong_option_names_the_nearest(self):
        self.refuses(USAGE, "unknown option '--memry' of ration run, did you mean '--memory'",
                     "run", TINY / "qwen2.gguf", "--memry", "3GB", "hi")
        self.refuses(USAGE, "unknown command 'serv', did you mean 'serve'", "serv")
        self.refuses(USAGE, "option --memory: found '3XB'", "run", "--memory", "3XB")
        self.refuses(USAGE, "option --top-p: found '2', wanted a number from 0 to 1",
                     "run", "--top-p", "2", TINY / "qwen2.gguf", "hi")

    def test_an_unknown_model_names_the_nearest(self):
        self.refuses(USAGE, "smollm2-135m", "run", "smollm-135m", "hi", "--offline")

    def test_a_context_beyond_the_model_is_refused(self):
        self.refuses(USAGE, r"found a context of 9999999 tokens, wanted at most \d+",
                     "run", TINY / "qwen2.gguf", "hi", "-c", 9999999)

    def test_a_bad_file_says_what_was_found_and_wanted(self):
        (self.home / "text.gguf").write_text("this is not a model, but it is long enough to open")
        self.refuses(BAD_FILE, r"text\.gguf.*found .*wanted", "run", "text.gguf", "hi")
        whole = (TINY / "qwen2.gguf").read_bytes()
        (self.home / "half.gguf").write_bytes(whole[:len(whole) // 2])
        self.refuses(BAD_FILE, r"half\.gguf", "run", "half.gguf", "hi")
        (self.home / "empty.gguf").write_bytes(b"")
        self.refuses(BAD_FILE, r"empty\.gguf is empty", "run", "empty.gguf", "hi")
        self.refuses(USAGE, r"none\.gguf", "run", "./none.gguf", "hi")

    def test_an_empty_prompt_is_refused(self):
        self.refuses(USAGE, "the prompt is empty", "run", TINY / "qwen2.gguf", stdin="")

    def test_a_wrong_configuration_names_the_file_line_and_key(self):
        (self.home / "bad.toml").write_text("[tariff]\nusd_per_kw = 1\n")
        self.refuses(USAGE, r"bad\.toml, line 2: \[tariff\] unknown key 'usd_per_kw', did you mean "
                            r"'usd_per_kwh'", "doctor", "--config", "bad.toml")
        self.refuses(USAGE, "missing.toml", "doctor", "--config", "missing.toml")
        (self.home / "bad.toml").write_text("[tariff]\nusd_per_kwh = -1\n")
        self.refuses(USAGE, "line 2.*from 0", "doctor",
                     environment={"RATION_CONFIG": str(self.home / "bad.toml")})

    def test_an_unknown_kernel_set_is_refused(self):
        self.refuses(USAGE, "avx3", "run", TINY / "qwen2.gguf", "hi",
                     environment={"RATION_ISA": "avx3"})


class Tools(ProgramTest):
    def test_tokenize_and_detokenize_are_inverse(self):
        text = "Grüße, 世界! 🎉  two  spaces\n"
        outcome = self.run_program("tokenize", TINY / "qwen2.gguf", "--json", stdin=text)
        ids = json.loads(outcome.out)["ids"]
        back = self.run_program("detokenize", TINY / "qwen2.gguf", *ids)
        self.assertEqual(back.out.rstrip("\n"), text.rstrip("\n"))

    def test_special_tokens_in_a_text_are_text_unless_asked(self):
        text = "<|im_end|>"
        plain = self.run_program("tokenize", TINY / "qwen2.gguf", "--json", stdin=text)
        special = self.run_program("tokenize", TINY / "qwen2.gguf", "--json", "--special",
                                   stdin=text)
        self.assertGreater(len(json.loads(plain.out)["ids"]), len(json.loads(special.out)["ids"]))

    def test_template_renders_messages(self):
        messages = json.dumps([{"role": "user", "content": "Hello!"}])
        outcome = self.run_program("template", TINY / "llama-gqa.gguf", stdin=messages)
        self.assertEqual(outcome.code, DONE, outcome.err)
        self.assertIn("Hello!", outcome.out)
        self.refuses(USAGE, "not valid JSON: .* line 1", "template", TINY / "llama-gqa.gguf", stdin="{")

    def test_perplexity_lists_every_position(self):
        text = "the quick brown fox jumps over the lazy dog " * 8
        (self.home / "text.txt").write_text(text)
        outcome = self.run_program("perplexity", TINY / "qwen2.gguf", "--text", "text.txt",
                                   "--json", "--top", 3)
        self.assertEqual(outcome.code, DONE, outcome.err)
        result = json.loads(outcome.out)
        positions = result["positions"]
        mean = -sum(p["logprob"] for p in positions) / len(positions)
        self.assertTrue(math.isclose(math.exp(mean), result["perplexity"], rel_tol=1e-3))
        for position in positions:
            self.assertEqual(len(position["top"]), 3)
            best = [top["logprob"] for top in position["top"]]
            self.assertEqual(best, sorted(best, reverse=True))

    def test_bench_reports_speeds_and_settings(self):
        for experts in ("qwen2moe", "granite-shared"):
            answer = self.run_program("bench", TINY / f"{experts}.gguf", "--json", "--prefill", 8,
                                      "--decode", 4, "--context", 64)
            self.assertEqual(answer.code, DONE, answer.err)
            self.assertGreater(json.loads(answer.out)["decode"]["tokens_per_second"], 0)
        outcome = self.run_program("bench", TINY / "qwen2.gguf", "--json", "--prefill", 32,
                                   "--decode", 8, "--sequences", 2, "--rounds", 1)
        self.assertEqual(outcome.code, DONE, outcome.err)
        result = json.loads(outcome.out)
        self.assertGreater(result["prefill"]["tokens_per_second"], 0)
        self.assertGreater(result["decode"]["tokens_per_second"], 0)
        self.assertIsNone(result["depth_adds_ms"])
        self.assertGreater(result["start"]["first_token_ms"], result["start"]["load_ms"])

    def test_bench_holds_its_figures_against_the_machine(self):
        outcome = self.run_program("bench", TINY / "qwen2.gguf", "--json", "--prefill", 32,
                                   "--decode", 8, "--depth", 16, "--rounds", 3, "--memory", "64MB",
                                   "--threads", 1)
        self.assertEqual(outcome.code, DONE, outcome.err)
        result = json.loads(outcome.out)
        roofs, decode = result["roofs"], result["decode"]
        self.assertGreater(roofs["int8_gigaops_per_second"], 0)
        self.assertLess(roofs["read_set_bytes"], 64_000_000)
        cache = result["machine"]["l3_bytes"]
        if cache and roofs["read_set_bytes"] < 8 * cache:
            self.assertIn("cache", roofs["remark"])
        self.assertTrue(math.isclose(
            decode["of_multiply_roof"],
            decode["gigaops_per_second"] / roofs["int8_gigaops_per_second"], rel_tol=1e-2))
        self.assertEqual(len(decode["rounds_ms"]), 3)
        self.assertLessEqual(decode["min"], decode["tokens_per_second"])
        self.assertLessEqual(decode["tokens_per_second"], decode["max"])
        added = decode["step_ms"] - result["decode_at_depth_0"]["step_ms"]
        self.assertTrue(math.isclose(result["depth_adds_ms"], added, rel_tol=1e-2, abs_tol=1e-3))
        table = self.run_program("bench", TINY / "qwen2.gguf", "--prefill", 32, "--decode", 8,
                                 "--sequences", 2, "--rounds", 1, "--threads", 1)
        self.assertRegex(table.out, r"(?m)^decode 8 x 2 +\d")
        self.assertLessEqual(max(map(len, table.out.splitlines())), 80, table.out)

    def test_show_and_list_and_doctor_speak_json(self):
        shown = self.run_program("show", TINY / "gemma3.gguf", "--json")
        self.assertEqual(json.loads(shown.out)["family"], "gemma3", shown.out)
        listed = self.run_program("list", "--json", "--offline")
        self.assertEqual(json.loads(listed.out), [])
        doctor = json.loads(self.run_program("doctor", "--json").out)
        self.assertIn("reference", doctor["isa_available"])
        self.assertTrue(any(rung["method"] for rung in doctor["energy"]))

    def test_the_disk_limit_is_kept_and_shown(self):
        handler = functools.partial(QuietHandler, directory=TINY)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}/qwen2.gguf"
        size = (TINY / "qwen2.gguf").stat().st_size
        self.refuses(OVER_BUDGET, "limit is 10.0 kB and 0 B are in use", "pull", url, "--disk",
                     "10KB")
        config = self.home / ".config" / "ration" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text('[disk]\nlimit = "10KB"\n')
        self.refuses(OVER_BUDGET, "limit is 10.0 kB", "pull", url)
        self.assertEqual(self.run_program("pull", url, "--disk", "1GB").code, DONE)
        listed = json.loads(self.run_program("list", "--json").out)
        self.assertEqual([(m["bytes"], m["packed_bytes"]) for m in listed], [(size, 0)])
        self.assertRegex(self.run_program("list").out,
                         r"on the disk: (.+ kB) of models and 0 B packed, \1 in all of 10.0 kB")
        config.write_text("[disk]\nlimit = 12\n")
        self.refuses(USAGE, "line 2: .disk. 'limit' is not a size", "list")

    def test_doctor_shows_what_was_tuned_and_takes_no_file_of_another(self):
        doctor = json.loads(self.run_program("doctor", "--json").out)
        self.assertEqual(doctor["tuning"], {})
        machine, isa = doctor["machine"], doctor["isa"]
        tuned = {"Q8_0": {"ahead_bytes": 2304, "panels": 4, "gigabytes_per_second": 21.5,
                          "usual_gigabytes_per_second": 20}}
        file = self.home / "store" / f"tuning-{isa}-{machine['cpus_usable']}.json"
        file.parent.mkdir(exist_ok=True)
        whole = {"format": "ration-tuning-1", "version": doctor["version"], "cpu": machine["cpu"],
                 "family": machine["family"], "model": machine["model"],
                 "l3_bytes": machine["l3_bytes"] or 0, "isa": isa,
                 "threads": machine["cpus_usable"], "types": tuned}

        def shown(content):
            file.write_text(content)
            outcome = self.run_program("doctor", "--json")
            self.assertEqual(outcome.code, DONE, outcome.err)
            return json.loads(outcome.out)["tuning"]

        text = json.dumps(whole)
        self.assertEqual(shown(text), tuned)
        self.assertRegex(self.run_program("doctor").out, "Q8_0 +2304 bytes ahead, 4 panels")
        for other in ({"cpu": "another"}, {"version": "0"}, {"threads": 99}, {"format": 1},
                      {"types": []}, {"types": {"Q8_0": {"ahead_bytes": -1, "panels": 4}}},
                      {"types": {"Q8_0": {"ahead_bytes": 64, "panels": 1 << 40}}}):
            self.assertEqual(shown(json.dumps(whole | other)), {}, other)
        for broken in (text[:-9], "[]", "", "\0", "null"):
            self.assertEqual(shown(broken), {}, broken)

    def test_help_and_version_and_completion(self):
        self.assertRegex(self.run_program("--version").out, r"^ration \d+\.\d+\.\d+")
        text = self.run_program("--help")
        self.assertEqual(text.code, DONE)
        for command in ("run", "chat", "serve", "pull", "doctor"):
            self.assertIn(command, text.out)
        for code in ("0", "1", "2", "3", "4", "5", "130"):
            self.assertRegex(text.out, rf"\n +{code}  ")
        self.assertEqual(self.run_program().code, USAGE)
        for shell, option in (("bash", "--memory"), ("zsh", "--memory"), ("fish", "-l memory")):
            self.assertIn(option, self.run_program("completion", shell).out)
        self.refuses(USAGE, "tcsh", "completion", "tcsh")

    def test_bash_completes_commands_and_options(self):
        script = self.run_program("completion", "bash").out
        (self.home / "ration.bash").write_text(script)
        asked = ('source ./ration.bash; COMP_WORDS=(ration run --mem); COMP_CWORD=2; '
                 '$(complete -p ration | sed "s/.*-F \\([^ ]*\\).*/\\1/"); '
                 'echo "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", asked], cwd=self.home, capture_output=True, check=True)
        self.assertEqual(done.stdout.decode().strip(), "--memory")


class Conversation(ProgramTest):
    def test_chat_takes_turns_from_standard_input(self):
        outcome = self.run_program("chat", TINY / "llama-gqa.gguf", "-n", 4, "--temperature", 0,
                                   stdin="hello\nand again\n")
        self.assertEqual(outcome.code, DONE, outcome.err)
        self.assertEqual(outcome.err.count("+ 4 tokens"), 2, outcome.err)

    def terminal(self, *words):
        """Starts the program on a terminal of its own; returns its process id and the other end."""
        child, terminal = pty.fork()
        if child == 0:
            os.execve(program.PROGRAM, [str(program.PROGRAM), *map(str, words)],
                      self.environment(TERM="xterm"))
        self.addCleanup(os.close, terminal)
        return child, terminal

    def read_until(self, terminal, pattern):
        seen = ""
        deadline = time.monotonic() + 20
        while not re.search(pattern, seen):
            ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(ready, f"waited for {pattern}, saw {seen!r}")
            seen += os.read(terminal, 4096).decode(errors="replace")
        return seen

    def test_chat_on_a_terminal_edits_lines_and_survives_control_c(self):
        child, terminal = self.terminal("chat", TINY / "llama-gqa.gguf", "-n", 4)
        self.read_until(terminal, "> ")
        os.write(terminal, b"helo\x1b[Dl\r")  # left, then the missing letter
        self.read_until(terminal, r"\+ 4 tokens[^>]*> ")
        os.write(terminal, b"\x03")
        self.read_until(terminal, "/bye or Ctrl-D")
        os.write(terminal, b"\x1b[A\r")  # up: the line before
        self.read_until(terminal, r"\+ 4 tokens[^>]*> ")
        os.write(terminal, b"/bye\r")
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), DONE)
        history = self.home / "store/chat_history"
        self.assertIn("hello", history.read_text())
        self.assertEqual(history.stat().st_mode & 0o777, 0o600)

    def test_control_c_ends_a_run_with_130(self):
        started = subprocess.Popen(
            [program.PROGRAM, "run", TINY / "qwen2.gguf"], cwd=self.home, env=self.environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.5)  # long enough, mostly, for it to wait for its prompt
        started.send_signal(signal.SIGINT)
        started.wait(timeout=20)
        self.assertIn(started.returncode, (INTERRUPTED, -signal.SIGINT))
        started.communicate()


if __name__ == "__main__":
    program.main()
