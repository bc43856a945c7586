"""The agent under test, as a user starts it: a child process in a folder of its own.

Reads STATE/agent.json, which the agent writes once it is ready; owns the process and the folder.
`ask` speaks the socket protocol by itself: the harness does not trust the clients it tests.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any, Dict, List, Optional, Sequence

from .manager import Manager
from .paths import COMMAND, REPOSITORY

READY_SECONDS = 30
INTERVAL = "LEZEA_MONITOR_SAMPLING__INTERVAL_MS"
BUDGET = "LEZEA_MONITOR_SAMPLING__CPU_BUDGET_PERCENT"
STOP_SECONDS = 20


class AgentFailed(Exception):
    """The agent did not do what it had to; carries the end of its log."""


class Refused(Exception):
    """The agent answered a request with an error."""


def sample_every(ms: int) -> None:
    """All agents that are started from now on; at that rate, whatever it costs."""
    os.environ[INTERVAL] = str(ms)
    os.environ[BUDGET] = "0"


def interval_seconds() -> float:
    return int(os.environ.get(INTERVAL, "100")) / 1000


class Agent:
    """One agent with its socket and state in a temporary folder; survives kill and start."""

    def __init__(
        self, settings: Optional[List[str]] = None, manager: Optional[Manager] = None
    ) -> None:
        """manager: what starts it, and keeps its descriptors in between."""
        self.folder = tempfile.mkdtemp(prefix="lezea-truth-agent-")
        self.socket = os.path.join(self.folder, "agent.sock")
        self.state = os.path.join(self.folder, "state")
        self.http = ""
        self._settings = settings or []
        self._popen: Any = manager.popen if manager else subprocess.Popen
        self._process: Optional[subprocess.Popen] = None
        self._listen = "127.0.0.1:0"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, settings: Sequence[str] = ()) -> "Agent":
        """Starts the agent and waits until it is ready. A restart keeps its HTTP port.

        settings: more of them, KEY=VALUE, from now on.
        """
        self._settings += settings
        command = COMMAND + ["agent", "--socket", self.socket, "--state-dir", self.state]
        command += ["--listen", self._listen]
        for setting in self._settings:
            command += ["--set", setting]
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self._process = self._popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPOSITORY
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            if self._process.poll() is not None:
                raise AgentFailed("the agent ended at once:\n" + self.log_tail())
            if time.monotonic() > deadline:
                raise AgentFailed("the agent was not ready in time:\n" + self.log_tail())
            time.sleep(0.02)
        return self

    def _ready(self) -> bool:
        try:
            with open(os.path.join(self.state, "agent.json"), encoding="utf-8") as file:
                said = json.load(file)
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        if said.get("pid") != self.pid:
            return False  # written by the one before
        self.http = str(said["http"]).rstrip("/")
        if "://" not in self.http:
            self.http = "http://" + self.http
        self._listen = self.http.split("://", 1)[1]
        return True

    def kill(self) -> None:
        """SIGKILL: the agent gets no chance to save anything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, which must end it with status 0."""
        if self._process is None or not self.alive:
            return
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AgentFailed("the agent ignored SIGTERM:\n" + self.log_tail()) from None
        if status != 0:
            raise AgentFailed("the agent ended with status %d:\n%s" % (status, self.log_tail()))

    def remove(self) -> None:
        if self.alive:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_lines(self) -> List[str]:
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return log.read().splitlines()

    def log_tail(self) -> str:
        return "\n".join(self.log_lines()[-15:])

    def ask(self, method: str, params: Dict[str, Any], timeout: float = 30) -> Dict[str, Any]:
        """One request on a connection of its own. Raises Refused for an error reply."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        hello = {"client": "truth", "version": "1", "protocols": [1]}
        first = {"jsonrpc": "2.0", "id": 0, "method": "hello", "params": hello}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(self.socket)
            # A connection that is one too many is closed at once; why is there to be read.
            with contextlib.suppress(BrokenPipeError):
                connection.sendall((json.dumps(first) + "\n" + json.dumps(request) + "\n").encode())
            with connection.makefile("rb") as replies:
                for line in replies:
                    reply = json.loads(line)
                    if reply.get("id") is None and "error" in reply:  # of the connection itself
                        raise Refused("%s: %s" % (method, reply["error"]))
                    if reply.get("id") == 1:
                        if "error" in reply:
                            raise Refused("%s: %s" % (method, reply["error"]))
                        return reply["result"]
        raise AgentFailed("%s: the agent closed the connection\n%s" % (method, self.log_tail()))

    def show(self, run_id: str) -> Dict[str, Any]:
        """The run's summary document, by the command line."""
        command = COMMAND + ["show", run_id, "--json", "--socket", self.socket]
        done = subprocess.run(command, capture_output=True, timeout=60, cwd=REPOSITORY, check=False)
        if done.returncode != 0:
            raise AgentFailed("show %s: %s" % (run_id, done.stderr.decode(errors="replace")))
        return json.loads(done.stdout)

    def source(self, name: str) -> Dict[str, Any]:
        """What the agent says of one of its data sources: name, state, reason."""
        for source in self.ask("node.status", {})["sources"]:
            if source["name"] == name:
                return source
        return {"name": name, "state": "unavailable", "reason": "the agent names no such source"}
