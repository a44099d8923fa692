"""`ration serve` with several models in a budget that holds only some of them: who answers, who
waits, who is refused, and what it takes. On tiny models, with the standard library only.

    residency_test.py PROGRAM FOLDER_OF_TINY_MODELS
"""

import concurrent.futures
import json
import pathlib
import random
import re
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from serving_test import CHAT, DONE, Server, body_of  # noqa: E402
import program  # noqa: E402
from program import ProgramTest, TINY  # noqa: E402

USAGE = 2
NAMES = ("qwen2", "olmoe", "qwen3moe")


class Residency(ProgramTest):
    def setUp(self):
        super().setUp()
        self.files = {name: TINY / f"{name}.gguf" for name in NAMES}

    def serve(self, names=NAMES, memory="280MB", more=""):
        """Each model gets 100 MB, so that two of them fit, whatever the program takes."""
        (self.home / "config.toml").write_text(more + "".join(
            f"[models.{name}]\nmodel = '{self.files[name]}'\nmemory = '100MB'\n"
            for name in names))
        return Server(self, names[0],
                      (*names[1:], "--config", "config.toml", "--memory", memory))

    def get(self, server, path):
        server.watch.request("GET", path)
        answer = server.watch.getresponse()
        return json.loads(answer.read())

    def loaded(self, server):
        return [row["name"] for row in self.get(server, "/api/ps")["models"]]

    def post(self, server, path, body, headers=None):
        connection = server.connect()
        connection.request("POST", path, json.dumps(body), headers or {})
        answer = connection.getresponse()
        return answer, json.loads(answer.read())

    def text(self, server, name, prompt="hello", tokens=8):
        status, answer = server.chat(prompt, tokens, model=name)
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"]

    def metric(self, server, pattern):
        server.watch.request("GET", "/metrics")
        text = server.watch.getresponse().read().decode()
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.M))

    def test_models_take_turns_in_memory_and_answer_as_they_do_alone(self):
        alone = {}
        for name in NAMES:
            server = Server(self, self.files[name])
            alone[name] = {text: self.text(server, name, text) for text in ("hello", "you there")}
            server.stop()
        server = self.serve()
        self.assertEqual(self.loaded(server), ["qwen2"])
        rng = random.Random(5)
        asked = [(rng.choice(NAMES), rng.choice(("hello", "you there"))) for _ in range(60)]

        def ask(what):
            return self.text(server, *what) == alone[what[0]][what[1]]

        self.assertTrue(all(ask(what) for what in asked[:12]))
        with concurrent.futures.ThreadPoolExecutor(6) as clients:
            self.assertTrue(all(clients.map(ask, asked)))
        self.assertLess(len(self.loaded(server)), len(NAMES))
        self.assertGreater(self.metric(server, "ration_model_evictions_total{.*}"), 0)
        self.assertGreaterEqual(self.metric(server, "ration_model_loads_total{.*}"), 3)
        self.assertEqual(self.metric(server, "ration_model_load_failures_total{.*}"), 0)
        limit = self.metric(server, "ration_memory_budget_bytes")
        self.assertEqual(limit, 280e6)
        self.assertLessEqual(self.metric(server, "ration_memory_peak_bytes"), limit)
        status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
        self.assertLessEqual(peak, limit + 16 * 2**20)
        self.assertEqual(server.stop()[0], DONE)

    def test_pages_tell_of_all_models_and_load_none(self):
        server = self.serve()
        rows = self.get(server, "/v1/models")["data"]
        self.assertEqual([(row["id"], row["status"]["value"]) for row in rows],
                         [("qwen2", "loaded"), ("olmoe", "unloaded"), ("qwen3moe", "unloaded")])
        self.assertEqual(rows[0]["meta"]["n_ctx"], 1024)
        self.assertIsNone(rows[1]["meta"]["n_ctx"])
        self.assertEqual(self.get(server, "/v1/models/olmoe")["meta"]["family"], "olmoe")
        self.assertEqual([row["name"] for row in self.get(server, "/api/tags")["models"]],
                         list(NAMES))
        status, shown = server.ask("/api/show", {"model": "qwen3moe"})
        self.assertEqual((status, shown["details"]["family"]), (200, "qwen3moe"))
        self.assertEqual(server.health()["models"],
                         {"qwen2": "loaded", "olmoe": "unloaded", "qwen3moe": "unloaded"})
        self.assertEqual(self.metric(server, r'ration_model_state{model="olmoe",state="unloaded"}'), 1)
        self.assertEqual(self.loaded(server), ["qwen2"])

    def test_an_answer_says_whose_it_is_and_what_the_loading_took(self):
        server = self.serve()
        answer, body = self.post(server, CHAT, body_of("hello", 4))
        self.assertEqual((answer.getheader("x-ration-model"), answer.getheader("x-ration-reason")),
                         ("qwen2", "default"))
        self.assertEqual(body["usage"]["ration"]["ms"]["load"], 0)
        answer, body = self.post(server, CHAT, body_of("hello", 4, model="olmoe"))
        self.assertEqual((answer.getheader("x-ration-model"), answer.getheader("x-ration-reason")),
                         ("olmoe", "named"))
        self.assertEqual(body["model"], "olmoe")
        self.assertGreater(body["usage"]["ration"]["ms"]["load"], 0)
        _, body = self.post(server, "/tokenize", {"model": "qwen3moe", "content": "hello"})
        self.assertTrue(body["tokens"])
        _, body = self.post(server, CHAT, body_of("hello", 4, model="qwen3mo"))
        self.assertEqual(body["error"]["code"], "model_not_found")
        self.assertIn("did you mean 'qwen3moe'", body["error"]["message"])
        _, body = self.post(server, CHAT, {"model": "qwen3moe", "mesages": []})
        self.assertEqual(body["error"]["param"], "mesages")

    def test_a_key_makes_nothing_load_that_it_may_not_use(self):
        server = self.serve(more="[[keys]]\nname = 'alice'\nsecret = 'a-secret-of-alice'\n"
                                 "models = ['qwen2', 'olmoe']\n")
        alice = {"Authorization": "Bearer a-secret-of-alice"}
        for path, body in ((CHAT, body_of("hello", 4, model="qwen3moe")),
                           ("/tokenize", {"model": "qwen3moe", "content": "hello"})):
            answer, body = self.post(server, path, body, alice)
            self.assertEqual((answer.status, body["error"]["code"]), (403, "model_not_allowed"))
        answer, _ = self.post(server, CHAT, body_of("hello", 4, model="olmoe"), alice)
        self.assertEqual(answer.status, 200)
        self.assertEqual(server.health()["models"]["qwen3moe"], "unloaded")

    def test_keep_alive_lets_models_go(self):
        server = self.serve()
        status, body = server.ask("/api/generate", {"model": "olmoe"})
        self.assertEqual((status, body["done_reason"]), (200, "load"))
        self.assertEqual(self.loaded(server), ["qwen2", "olmoe"])
        status, body = server.ask("/api/generate", {"model": "olmoe", "keep_alive": 0})
        self.assertEqual((status, body["done_reason"]), (200, "unload"))
        self.assertTrue(server.becomes(lambda health: health["models"]["olmoe"] == "unloaded"))
        status, body = server.ask("/api/chat", {"model": "olmoe", "keep_alive": 0})
        self.assertEqual((status, body["done_reason"]), (200, "unload"))
        self.assertEqual(self.loaded(server), ["qwen2"])
        self.assertEqual(server.chat("hello", 4, model="olmoe", keep_alive="300ms")[0], 200)
        self.assertIn("olmoe", self.loaded(server))
        self.assertTrue(server.becomes(lambda health: health["models"]["olmoe"] == "unloaded"))
        self.assertEqual(self.metric(
            server, 'ration_model_evictions_total{model="olmoe",reason="idle"}'), 2)

    def test_the_configuration_names_models_and_what_they_take(self):
        config = "".join(
            f"[models.{name}]\nmodel = '{file}'\n{more}\n" for name, file, more in (
                ("main", self.files["qwen2"], "pin = true\naliases = ['gpt-4o']"),
                ("other", self.files["olmoe"], "context = 512\npreload = true"),
                ("huge", self.files["qwen3moe"], "memory = '1GB'")))
        (self.home / "config.toml").write_text(config)
        server = Server(self, "main", ("other", "huge", "--config", "config.toml", "--memory",
                                       "80MB"))
        self.assertTrue(server.becomes(lambda health: health["models"]["other"] == "loaded"))
        self.assertEqual(self.get(server, "/v1/models/other")["meta"]["n_ctx"], 512)
        answer, body = self.post(server, CHAT, body_of("hello", 4, model="gpt-4o"))
        self.assertEqual((answer.status, body["model"]), (200, "main"))
        answer, body = self.post(server, CHAT, body_of("hello", 4, model="huge"))
        self.assertEqual((answer.status, body["error"]["code"]), (503, "insufficient_memory"))
        self.assertEqual(body["error"]["needed_bytes"], 10**9)
        self.assertIn("'main'", body["error"]["message"])
        self.assertRegex(body["error"]["message"], "what would fit: .*'other'")
        self.assertEqual(self.loaded(server), ["main", "other"])
        (self.home / "two.toml").write_text(config.replace("gpt-4o", "other"))
        self.refuses(USAGE, "'other' is the name of two models", "serve", "--config", "two.toml")
        self.refuses(USAGE, r"--draft goes with one model, and there are 3", "serve", "--config",
                     "config.toml", "--draft", self.files["qwen2"])

    def test_a_model_that_cannot_be_loaded_is_refused_and_the_others_answer(self):
        broken = self.home / "broken.gguf"
        shutil.copy(self.files["olmoe"], broken)
        self.files["broken"] = broken
        server = self.serve(("qwen2", "broken"))
        broken.write_bytes(broken.read_bytes()[:20000])
        answer, body = self.post(server, CHAT, body_of("hello", 4, model="broken", stream=True))
        self.assertEqual((answer.status, body["error"]["code"]), (503, "load_failed"), body)
        self.assertRegex(body["error"]["message"], "'broken' could not be loaded: .*broken.gguf")
        self.assertGreaterEqual(int(answer.getheader("retry-after")), 1)
        self.assertEqual(self.metric(server, r"ration_model_load_failures_total{.*}"), 1)
        answer, _ = self.post(server, CHAT, body_of("hello", 4, model="broken"))
        self.assertEqual(answer.status, 503)
        self.assertEqual(self.metric(server, r"ration_model_load_failures_total{.*}"), 1)
        self.assertEqual(server.chat("hello", 4, model="qwen2")[0], 200)

    def test_a_configuration_that_is_broken_meanwhile_stops_no_model_from_loading(self):
        server = self.serve(("qwen2", "olmoe"))
        (self.home / "config.toml").write_text("[models.qwen2\nmodel = ")
        self.assertTrue(self.text(server, "olmoe"))

    def test_who_waits_may_run_out_of_time_or_leave(self):
        server = self.serve(("qwen2", "olmoe"), "170MB")
        holder = server.connect()  # of the only place, for seconds
        holder.request("POST", CHAT, json.dumps(body_of("hello", 1000, model="qwen2", n=128)))
        self.assertTrue(server.becomes(lambda health: health["answers"]["active"] > 0))
        status, body = server.chat("hello", 4, model="olmoe", ration={"max_ms": 100})
        self.assertEqual((status, body["error"]["code"]), (504, "deadline_exceeded"))
        leaver = server.connect()
        leaver.request("POST", CHAT, json.dumps(body_of("hello", 4, model="olmoe")))
        self.assertTrue(server.becomes(lambda health: sum(health["answers"].values()) == 129))
        leaver.close()
        self.assertTrue(server.becomes(lambda health: sum(health["answers"].values()) == 128))
        holder.close()
        self.assertTrue(server.becomes(lambda health: sum(health["answers"].values()) == 0))
        time.sleep(0.1)
        self.assertEqual(self.loaded(server), ["qwen2"])
        self.assertEqual(server.stop()[0], DONE)


if __name__ == "__main__":
    program.main()
