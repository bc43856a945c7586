"""Starting the scripts under workloads/ and reading what they say of themselves.

A workload prints one JSON object a line; the last line is its truth. It is started in a session
of its own, so that all of it can be ended, and in a cgroup where one is given.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from .cgroup import Leaf
from .paths import PYTHON_CLIENT, WORKLOADS

TIMEOUT_SECONDS = 90


class WorkloadFailed(Exception):
    """The workload ended badly or said nothing in time; carries its standard error."""


class Workload:
    """One running script."""

    def __init__(
        self,
        script: str,
        arguments: List[str],
        socket: str,
        leaf: Optional[Leaf] = None,
        command: Optional[List[str]] = None,
    ) -> None:
        """command: what to start the script with, in place of this Python alone."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LEZEA_")}
        environment["LEZEA_MONITOR_SOCKET"] = socket
        environment["PYTHONPATH"] = PYTHON_CLIENT
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if leaf is not None:
            environment["TRUTH_CPU_STAT"] = leaf.cpu_stat
        path = os.path.join(WORKLOADS, script + ".py")
        self._name = script
        self._process = subprocess.Popen(
            (command or []) + [sys.executable, path] + arguments,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=leaf.enter if leaf is not None else None,
            start_new_session=True,
        )
        self._said = bytearray()
        self._errors = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self, timeout: float = TIMEOUT_SECONDS) -> Dict[str, Any]:
        """The next object that the workload prints."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._said:
            if not self._receive(deadline):
                raise WorkloadFailed("%s said nothing more\n%s" % (self._name, self._stderr()))
        line, _, rest = self._said.partition(b"\n")
        self._said = bytearray(rest)
        return json.loads(line)

    def tell(self) -> None:
        """One line, for those that wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def finish(self, timeout: float = TIMEOUT_SECONDS, status: int = 0) -> Dict[str, Any]:
        """Waits for the end of it, and of whatever holds its output; its last object."""
        deadline = time.monotonic() + timeout
        while self._receive(deadline):
            pass
        ended = self._process.wait(max(0.1, deadline - time.monotonic()))
        lines = self._said.decode().splitlines()
        if ended != status or not lines:
            raise WorkloadFailed(
                "%s ended with status %d and %d lines\n%s"
                % (self._name, ended, len(lines), self._stderr())
            )
        warnings = self._stderr().strip()
        if warnings:
            raise WorkloadFailed("%s wrote to standard error:\n%s" % (self._name, warnings))
        return json.loads(lines[-1])

    def _receive(self, deadline: float) -> bool:
        """Takes what comes on either pipe; False once standard output has ended."""
        assert self._process.stdout is not None and self._process.stderr is not None
        out, errors = self._process.stdout.fileno(), self._process.stderr.fileno()
        left = deadline - time.monotonic()
        ready, _, _ = select.select([out, errors], [], [], max(0.0, left))
        if not ready:
            raise WorkloadFailed("%s took too long\n%s" % (self._name, self._stderr()))
        if errors in ready:
            piece = os.read(errors, 65536)
            self._errors += piece
            if not piece and out not in ready:
                ready, _, _ = select.select([out], [], [], max(0.0, left))
        if out in ready:
            piece = os.read(out, 65536)
            self._said += piece
            return bool(piece)
        return True

    def _stderr(self) -> str:
        return self._errors.decode(errors="replace")

    def kill(self) -> None:
        """Ends whatever is left of it."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
