"""Starts, asks and watches the programs that compare.py compares."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

START_SECONDS_MAX = 300


def run(command):
    """Standard output of a command; a failed one ends the program with its words."""
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"compare.py: cannot run {command[0]}: {error.strerror}")
    if done.returncode != 0:
        sys.exit(f"compare.py: {' '.join(map(str, command))} ended with {done.returncode}:\n"
                 f"{done.stderr.strip()}")
    return done.stdout


def run_and_watch(command):
    """Seconds a command took, and the most memory it ever held."""
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    words = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"compare.py: {command[0]} ended with {process.returncode}:\n{words.strip()}")
    return seconds, usage.ru_maxrss * 1024


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def fields(path):
    """The `name: value` lines of a file in /proc."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


class Server:
    """A chat server of either kind, from its start to the end of the block."""

    def __init__(self, command, port):
        self.port = port
        self.command = list(map(str, command))

    def __enter__(self):
        self.started = time.perf_counter()
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def wait_until_ready(self):
        while time.perf_counter() - self.started < START_SECONDS_MAX:
            if self.process.poll() is not None:
                sys.exit(f"compare.py: {self.command[0]} ended with {self.process.returncode}")
            try:
                if self.request("GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.002)
        sys.exit(f"compare.py: {self.command[0]} was not ready after {START_SECONDS_MAX} s")

    def ask(self, prompt, tokens):
        """Seconds since the start of the program when the answer is there."""
        status, text = self.request("POST", "/v1/chat/completions", json.dumps(
            {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens,
             "temperature": 0}))
        if status != 200:
            sys.exit(f"compare.py: {self.command[0]} answered {status}: {text}")
        return time.perf_counter() - self.started

    def memory(self):
        """Resident bytes: all, the most there ever were, and those that are no mapped file."""
        status = fields(f"/proc/{self.process.pid}/status")
        return [1024 * int(status[name].split()[0]) for name in ("VmRSS", "VmHWM", "RssAnon")]

    def used_seconds(self):
        """Processor seconds of all threads."""
        text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wake_ups(self):
        """How often a thread went to sleep by itself, which is how often one was woken."""
        return sum(int(fields(task / "status")["voluntary_ctxt_switches"])
                   for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir())
