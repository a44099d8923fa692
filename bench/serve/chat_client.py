"""A chat server as a process, of either kind, and a client that reads its streams piece by piece:
what the programs of this folder share."""

import http.client
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "peer"))
from programs import Server, free_port  # noqa: E402,F401  pylint: disable=wrong-import-position

WORDS = ("river mountain sea cloud stone light garden winter summer road bridge letter window "
         "kitchen engine market island forest silver number").split()


def long_prompt(number, words):
    """No two begin alike, so that none is found in a cache."""
    return f"Text {number}: " + " ".join(WORDS[(i * i + number) % len(WORDS)]
                                         for i in range(words)) + "\nWhich word came first?"


def ask(port, said, tokens, on_text, **more):
    """Streams one answer, calls on_text with each piece until it returns False; the usage.
    said: the user's words, or all messages."""
    messages = said if isinstance(said, list) else [{"role": "user", "content": said}]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
    body = {"messages": messages, "temperature": 0, "stream": True,
            "max_tokens": tokens, "stream_options": {"include_usage": True}, **more}
    connection.request("POST", "/v1/chat/completions", json.dumps(body),
                       {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(answer.read().decode())
    usage = {}
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        choices = event.get("choices")
        piece = choices and choices[0].get("delta", {}).get("content")
        if piece and on_text(piece) is False:
            break
    connection.close()
    return usage


def wait_until_ready(server):
    """Returns when the server answers; ends the program when it has ended instead."""
    while server.process.poll() is None:
        try:
            if server.request("GET", "/health")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"the server ended: {' '.join(server.command)}")


def commands(options, port, sequences, context):
    """Both servers on the same file, with the same threads and room for as many conversations."""
    made = {"ration": [options.ration, "serve", options.model, "--port", port, "--quiet",
                       "--threads", options.threads, "--sequences-max", sequences,
                       "--context", context]}
    if options.peer:
        made["llama-server"] = [options.peer, "-m", options.model, "--port", port, "-t",
                                options.threads, "-tb", options.threads, "-np", sequences,
                                "-c", context * sequences, "--no-webui"]
    return made


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
