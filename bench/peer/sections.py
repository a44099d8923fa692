"""What compare.py measures: one class a section, with a method for each of the two programs.

A method returns {figure: number}. `UNITS` says what the numbers are, and whether more is better.
"""

import json
import os
import pathlib
import tempfile
import time

from programs import Server, free_port, run, run_and_watch

# With its template about 16 tokens are computed after what models put before every conversation.
PROMPT = "List the days of the week in one line, and nothing else at all."
CONTEXT = 4096


class Section:
    UNITS = {}  # figure: (unit, more is better)

    def __init__(self, options, model):
        self.options, self.model = options, model
        self.said = {}  # what a program says of itself

    def bench(self, *words):
        """`ration bench` once."""
        answer = json.loads(run([self.options.ration, "bench", self.model, "--json", "--quiet",
                                 "--rounds", 1, "--threads", self.options.threads, *words]))
        for kind in ("isa", "threads", "bytes", "roofs", "start"):
            self.said[kind] = answer[kind]
        return answer

    def llama_bench(self, *words):
        """`llama-bench` once: its entries."""
        entries = json.loads(run([self.options.llama_bin / "llama-bench", "-m", self.model, "-t",
                                  self.options.threads, "-r", 1, "-o", "json", *words]))
        self.said["llama_build"] = f"{entries[0]['build_commit']} ({entries[0]['build_number']})"
        return entries

    def server(self, who):
        port = free_port()
        if who == "ration":
            command = [self.options.ration, "serve", self.model, "--port", port, "--quiet",
                       "--context", CONTEXT, "--sequences-max", 1]
        else:
            command = [self.options.llama_bin / "llama-server", "-m", self.model, "--port", port,
                       "-c", CONTEXT, "-np", 1, "--no-warmup", "--log-disable"]
        return Server([*command, "--threads", self.options.threads], port)


class Speed(Section):
    """Tokens a second of prompts of 128 and of 512 tokens, and of an answer."""
    UNITS = {"prefill_128": ("tok/s", True), "prefill_512": ("tok/s", True),
             "decode": ("tok/s", True)}

    def llama(self):
        return {f"prefill_{entry['n_prompt']}" if entry["n_prompt"] else "decode": entry["avg_ts"]
                for entry in self.llama_bench("-p", "128,512", "-n", self.options.decode)}

    def ration(self):
        short = self.bench("--prefill", 128, "--decode", self.options.decode)
        long = self.bench("--prefill", 512, "--decode", 0)
        return {"prefill_128": short["prefill"]["tokens_per_second"],
                "prefill_512": long["prefill"]["tokens_per_second"],
                "decode": short["decode"]["tokens_per_second"]}


class Depth(Section):
    """Tokens a second with 2,048 tokens in the cache, and what those add to a token's time."""
    UNITS = {"decode_at_2048": ("tok/s", True), "added": ("ms/token", False)}

    def llama(self):
        rates = {entry["n_depth"]: entry["avg_ts"]
                 for entry in self.llama_bench("-p", 0, "-n", 32, "-d", "0,2048")}
        return {"decode_at_2048": rates[2048], "added": 1000 / rates[2048] - 1000 / rates[0]}

    def ration(self):
        answer = self.bench("--prefill", 0, "--decode", 32, "--depth", 2048)
        return {"decode_at_2048": answer["decode"]["tokens_per_second"],
                "added": answer["depth_adds_ms"]}


class Batch(Section):
    """Milliseconds of a step in which 2, 4, 8 or 16 conversations get a token each."""
    COUNTS = (2, 4, 8, 16)
    UNITS = {f"step_{count}": ("ms", False) for count in COUNTS}

    def llama(self):
        lines = run([self.options.llama_bin / "llama-batched-bench", "-m", self.model, "-t",
                     self.options.threads, "-c", 2048, "-npp", 64, "-ntg", 24, "-npl",
                     ",".join(map(str, self.COUNTS)), "--output-format", "jsonl"])
        entries = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
        return {f"step_{entry['pl']}": 1000 * entry["pl"] / entry["speed_tg"] for entry in entries}

    def ration(self):
        return {f"step_{count}": self.bench("--prefill", 0, "--decode", 24, "--depth", 64,
                                            "--sequences", count)["decode"]["step_ms"]
                for count in self.COUNTS}


class Memory(Section):
    """A server's memory after it answered once, beside the size of the model's file."""
    UNITS = {"resident_of_file": ("x", False), "peak_of_file": ("x", False),
             "not_mapped": ("MB", False)}

    def measure(self, who):
        with self.server(who) as server:
            server.wait_until_ready()
            server.ask(PROMPT, 16)
            resident, peak, anonymous = server.memory()
        size = self.model.stat().st_size
        return {"resident_of_file": resident / size, "peak_of_file": peak / size,
                "not_mapped": anonymous / 1e6}

    def llama(self):
        return self.measure("llama")

    def ration(self):
        return self.measure("ration")


class Start(Section):
    """Milliseconds from starting a server, its files in the page cache, to the first token.

    Both answer /v1/chat/completions with one token; neither warms up first. `run` is `ration run`
    from its start to its end; llama.cpp's side of that ratio is its server, as our builds of it
    have no command line program.
    """
    UNITS = {"first_token": ("ms", False), "run": ("ms", False)}

    def llama(self):
        with self.server("llama") as server:
            server.wait_until_ready()
            milliseconds = 1000 * server.ask(PROMPT, 1)
        return {"first_token": milliseconds, "run": milliseconds}

    def ration(self):
        with self.server("ration") as server:
            server.wait_until_ready()
            milliseconds = 1000 * server.ask(PROMPT, 1)
        seconds, _ = run_and_watch([self.options.ration, "run", self.model, PROMPT, "-n", 1,
                                    "--quiet", "--threads", self.options.threads])
        return {"first_token": milliseconds, "run": 1000 * seconds}


class Idle(Section):
    """A server that has answered and waits: share of a core, and wake-ups a second."""
    UNITS = {"processor": ("% of a core", False), "wake_ups": ("1/s", False)}

    def measure(self, who):
        seconds = self.options.idle_seconds
        with self.server(who) as server:
            server.wait_until_ready()
            server.ask(PROMPT, 4)
            time.sleep(15)  # time limits of the request that was answered run out
            used, woken = server.used_seconds(), server.wake_ups()
            time.sleep(seconds)
            used, woken = server.used_seconds() - used, server.wake_ups() - woken
        return {"processor": 100 * used / seconds, "wake_ups": woken / seconds}

    def llama(self):
        return self.measure("llama")

    def ration(self):
        return self.measure("ration")


class Pack(Section):
    """The first start, which packs the weights, and the second: seconds, and memory of the first.

    Ration alone: llama.cpp packs at every start, in memory.
    """
    UNITS = {"first_start": ("s", False), "second_start": ("s", False),
             "peak_of_file": ("x", False)}
    llama = None

    def ration(self):
        command = [self.options.ration, "run", None, "Hello", "-n", 1, "--quiet", "--threads",
                   self.options.threads, "--context", 64]
        with tempfile.TemporaryDirectory(dir=self.model.parent) as folder:
            command[2] = pathlib.Path(folder) / self.model.name
            os.symlink(self.model.resolve(), command[2])
            first, peak = run_and_watch(command)
            second, _ = run_and_watch(command)
        return {"first_start": first, "second_start": second,
                "peak_of_file": peak / self.model.stat().st_size}


SECTIONS = {"speed": Speed, "depth": Depth, "batch": Batch, "memory": Memory, "start": Start,
            "idle": Idle, "pack": Pack}
