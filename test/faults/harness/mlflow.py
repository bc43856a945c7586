"""One real `mlflow server` on loopback with SQLite and its artifact proxy, and what it holds.

Owns the server's processes and its folder. What it holds is read from its database and from its
artifact folder, not from what it answers.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from typing import Any, Dict, List, Tuple

from .paths import mlflow_folder

READY_SECONDS = 90
LOOK_SECONDS = 0.1
ASK_SECONDS = 60
#: Its job runners are seven more processes, of no use here.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}  # fmt: skip


class NoMlflow(Exception):
    """There is none here."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mlflow:
    """The server; `restart` kills it with everything it started."""

    def __init__(self) -> None:
        self._program = os.path.join(mlflow_folder(), "bin", "mlflow")
        if not os.access(self._program, os.X_OK):
            raise NoMlflow(
                "no MLflow 3 in %s; `python3 -m venv V && V/bin/pip install 'mlflow==3.*'`, "
                "then LEZEA_MLFLOW_3=V" % mlflow_folder()
            )
        self.folder = tempfile.mkdtemp(prefix="lezea-faults-mlflow-")
        self.port = free_port()
        self.restarts = 0
        #: Until it answers again.
        self.is_away = False
        self._lock = threading.Lock()
        self._launch()

    def _launch(self) -> None:
        command = [
            self._program, "server", "--host", "127.0.0.1", "--port", str(self.port),
            "--workers", "1", "--serve-artifacts", "--backend-store-uri", "sqlite:///mlflow.db",
            "--artifacts-destination", "./artifacts",
        ]  # fmt: skip
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **QUIET}, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._request("GET", "/health", None)[0] == 200:
                    return
            if time.monotonic() > deadline:
                raise NoMlflow("mlflow is not ready\n" + self._log_tail())
            time.sleep(LOOK_SECONDS)

    def restart(self) -> None:
        """SIGKILL and another; returns once it is ready."""
        with self._lock:
            self.restarts += 1
            self.is_away = True
            self._kill()
            self._launch()
            self.wait_ready()
            self.is_away = False

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _log_tail(self) -> str:
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-15:])

    def _request(self, method: str, path: str, body: Any) -> Tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASK_SECONDS)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any) -> Dict[str, Any]:
        """What the harness itself asks; again while the server is being restarted."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                status, text = self._request(method, "/api/2.0/mlflow/" + path, body)
                if status == 200:
                    return json.loads(text)
                problem = "%d %r" % (status, text[:300])
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
            if time.monotonic() > deadline:
                raise NoMlflow("%s: %s" % (path, problem))
            time.sleep(LOOK_SECONDS)

    def warm_up(self) -> None:
        """The first request of every kind takes a new server many seconds."""
        run = self.new_run("0")
        metric = {"key": "warm", "value": 1, "timestamp": 1, "step": 1}
        self.call("POST", "runs/log-batch", {"run_id": run, "metrics": [metric]})
        path = "/api/2.0/mlflow-artifacts/artifacts"
        self._request("PUT", "%s/0/%s/artifacts/warm" % (path, run), "warm")
        self._request("GET", path + "?path=0", None)

    def new_experiment(self, name: str) -> str:
        return str(self.call("POST", "experiments/create", {"name": name})["experiment_id"])

    def new_run(self, experiment: str) -> str:
        """The harness asks again after a failure: a run that nobody uses may be left."""
        body = {"experiment_id": experiment, "start_time": int(time.time() * 1000)}
        return str(self.call("POST", "runs/create", body)["run"]["info"]["run_id"])

    def rows(self, query: str, *values: Any) -> List[Tuple[Any, ...]]:
        path = "file:%s?mode=ro" % os.path.join(self.folder, "mlflow.db")
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=30)) as database:
            return database.execute(query, values).fetchall()

    def artifacts(self, artifact_uri: str) -> Dict[str, bytes]:
        """Every file of a run, by its path."""
        root = os.path.join(self.folder, "artifacts", artifact_uri.split(":", 1)[1].strip("/"))
        found = {}
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, root)] = file.read()
        return found
