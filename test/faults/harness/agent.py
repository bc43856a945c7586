"""The agent under test: a child process that is started again whenever it has died.

Owns the process, its folder and a thread that watches it. A start may fail while its disk does; in
any other case it is remembered as a fault of the agent.
"""

import os
import signal
import subprocess
import threading
import time
from typing import Any, Dict, List, Optional

from . import rpc
from .paths import AGENT, REPOSITORY
from .shim import Orders

READY_SECONDS = 30
STOP_SECONDS = 20
LOOK_SECONDS = 0.02
SETTINGS = (
    "agent.mode=user", "http.enabled=false", "checkpoint.interval_ms=200",
    "tracker.retry_first_ms=20", "tracker.retry_most_ms=400", "tracker.timeout_seconds=3",
)  # fmt: skip


class AgentFailed(Exception):
    """The agent did not do what it had to."""


class Agent:
    """`start` it, then `settle` before the last look; whoever kills it says so with `kill`."""

    def __init__(self, folder: str, state: str) -> None:
        self.folder, self.state = folder, state
        self.socket = os.path.join(folder, "agent.sock")
        os.mkdir(state, 0o700)
        self.orders = Orders(os.path.join(folder, "orders"), self.state)
        self.starts = 0
        self.kills = 0
        self.failed_starts = 0
        self.faults: List[str] = []
        self._process: Optional[subprocess.Popen] = None
        self.disk_failed = False
        self._disk_fails_until = 0.0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._watcher.start()
        self.wait_ready()

    def disk_fails(self, yes: bool) -> None:
        """While it does, and a moment after, the agent may end and need not start."""
        self.disk_failed = True
        self._disk_fails_until = float("inf") if yes else time.monotonic() + 2

    def kill(self) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self.kills += 1
                self._process.kill()
                self._process.wait()

    def terminate(self) -> None:
        """SIGTERM in the middle of things; the watcher starts the next one."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self.kills += 1
                self._process.terminate()

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.ask("agent.health", {})
                return
            except (OSError, rpc.Refused) as error:
                if time.monotonic() > deadline:
                    why = "not ready in %d s (%s)\n%s" % (seconds, error, self.log_tail())
                    raise AgentFailed(why) from None
            time.sleep(LOOK_SECONDS)

    def ask(self, method: str, params: Dict[str, Any]) -> Dict[str, Any]:
        return rpc.ask(self.socket, method, params)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with self._lock:
                process = self._process
                if process is not None and process.poll() is None:
                    continue
                if process is not None:
                    self._judge(process.returncode)
                if not self._over.is_set():
                    self._launch()

    def _judge(self, status: int) -> None:
        """Why it ended; -9 and SIGTERM are ours, a disk that fails may be the reason of 1."""
        self.orders["kill_at"] = 0
        if self.orders["killed"]:
            self.orders["killed"] = 0
            self.kills += 1
        # Told to stop before its first line ran, it ends by the signal; `close` asks one that is up.
        if status in (-signal.SIGKILL, -signal.SIGTERM, 0) and self.kills > 0:
            return
        self.failed_starts += 1
        if time.monotonic() > self._disk_fails_until:
            self.faults.append("the agent ended with status %d\n%s" % (status, self.log_tail()))

    def _launch(self) -> None:
        command = [AGENT, "agent", "--socket", self.socket, "--state-dir", self.state]
        for setting in SETTINGS:
            command += ["--set", setting]
        foreign = ("LEZEA_MONITOR_", "LEZEA_RUN_ID", "MLFLOW_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        environment.update(self.orders.environment())
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=REPOSITORY, env=environment,
            )  # fmt: skip
        self.starts += 1

    def log_tail(self) -> str:
        path = os.path.join(self.folder, "log")
        with open(path, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-8:])

    def close(self) -> None:
        """For good. It must end by SIGTERM with status 0."""
        self._over.set()
        self._watcher.join()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                status = process.wait(STOP_SECONDS)
                if status != 0:
                    self.faults.append("SIGTERM: status %d\n%s" % (status, self.log_tail()))
            except subprocess.TimeoutExpired:
                self.faults.append("the agent ignored SIGTERM\n" + self.log_tail())
                process.kill()
                process.wait()
        self.orders.close()
