"""`ration serve` as a process: who may use it, what is logged, and how it describes itself.

    access_test.py PROGRAM FOLDER_OF_TINY_MODELS
"""

import json
import pathlib
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "app"))

import program  # noqa: E402
from program import ProgramTest  # noqa: E402
from serving_test import CHAT, DONE, Server, body_of, rest_of  # noqa: E402


class Keys(ProgramTest):
    """[[keys]] of the configuration, read again on SIGHUP; and the log of requests."""

    def key(self, name):
        """The secret of a new key, and its lines."""
        made = self.run_program("config", "key", name)
        self.assertEqual(made.code, DONE, made.err)
        return re.search(r": (rk-[0-9a-f]{48})\n", made.out).group(1), made.out

    def models(self, server, secret):
        connection = server.connect()
        connection.request("GET", "/v1/models", headers={"x-api-key": secret})
        return connection.getresponse().status

    def test_are_read_again_without_dropping_a_stream(self):
        (alice, alice_lines), (bob, bob_lines) = self.key("alice"), self.key("bob \"b\"")
        config = self.home / "keys.toml"
        config.write_text(alice_lines)
        server = Server(self, words=("--config", config, "--log-requests"))
        self.assertEqual([self.models(server, key) for key in (alice, bob, "")], [200, 401, 401])
        stream = server.connect()
        stream.request("POST", CHAT, json.dumps(body_of("hello", 400, stream=True)),
                       {"authorization": f"Bearer {alice}"})
        answer = stream.getresponse()
        config.write_text(bob_lines)
        server.process.send_signal(signal.SIGHUP)
        self.assertTrue(server.becomes(lambda _: self.models(server, bob) == 200))
        self.assertEqual(self.models(server, alice), 401)
        events, ended = rest_of(answer)
        self.assertTrue(ended)
        self.assertIsNone(events[-1])
        config.write_text("[[keys]]\nname = 3\n")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        self.assertEqual(self.models(server, bob), 200)
        code, err = server.stop()
        self.assertEqual(code, DONE)
        self.assertIn("as it was: ", err)
        lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        chats = [line for line in lines if line["path"] == CHAT]
        self.assertEqual([line["key"] for line in chats], ["alice"])
        self.assertNotIn(alice, err)


class Description(ProgramTest):
    """GET /openapi.json"""

    def test_has_every_route(self):
        server = Server(self)
        server.watch.request("GET", "/openapi.json")
        api = json.loads(server.watch.getresponse().read())
        server.watch.request("GET", "/")
        words = server.watch.getresponse().read().decode()
        listed = {(path, method.lower()) for method, path in
                  re.findall(r"^(GET|POST) +(/\S*)$", words, re.MULTILINE)}
        described = {(path, method) for path, item in api["paths"].items() for method in item}
        self.assertEqual(described, listed | {("/v1/models/{id}", "get")})
        names = set(re.findall(r'"#/components/(\w+/\w+)"', json.dumps(api)))
        self.assertEqual(names, {f"{kind}/{name}" for kind in ("schemas", "responses")
                                 for name in api["components"][kind]})


if __name__ == "__main__":
    program.main()
