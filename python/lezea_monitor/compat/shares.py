"""Which parts are going on in a process, and the scopes that stand for them.

A thread is in one scope at a time, so parts of one process that go on at the same moment are one
scope together, `part:a+b`, and each has an equal share of it: nobody can tell them apart, and their
sum is the process. Owns the open scope of each process; nothing here raises or, for the own process,
waits.
"""

import logging
import os
import time
from typing import Any, Dict, Optional, Set, Tuple

from ..names import encode_name

log = logging.getLogger("lezea_monitor")

LEVEL = "part"
NONE_GOING_ON = "(none)"
BIND_SECONDS = 2.0

Parts = Tuple[str, ...]


class Shares:
    """The scopes of one ResourceLogger: by path, the parts that share what it has used."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.paths: Dict[str, Parts] = {}
        self.unknown: Set[str] = set()  # parts of processes that the agent does not let us say
        self._names: Dict[str, Parts] = {}
        self._open: Any = None

    def going_on(self, pid: int, parts: Parts) -> None:
        """From now on these parts of the process, and no others, are going on."""
        if pid == os.getpid():
            self._enter(parts)
        else:
            self._bind(pid, parts)

    def _enter(self, parts: Parts) -> None:
        open_scope, self._open = self._open, None
        if open_scope is not None:
            open_scope.__exit__(None, None, None)
        if not parts:
            return
        self._open = self._run.scope(LEVEL, self._name(parts))
        self._open.__enter__()
        node = getattr(self._open, "node", None)
        if node is not None and node.path:
            self.paths[node.path] = parts

    def _bind(self, pid: int, parts: Parts) -> None:
        """Another process: its threads follow the scope that it was bound with."""
        name = encode_name(self._name(parts) if parts else NONE_GOING_ON)[0]
        path = "%s:%s" % (LEVEL, name)
        if self._ask_to_bind(pid, path):
            if parts:
                self.paths[path] = parts
        else:
            self.unknown.update(parts)

    def _ask_to_bind(self, pid: int, path: str) -> bool:
        link = getattr(self._run, "_link", None)
        if link is None or not self._run.active:
            return False
        from ..wire import AgentError, Unavailable  # needs Linux, as a link does

        params = {
            "run_id": self._run.id,
            "pid": pid,
            "birth_scope": path,
            "t_ns": time.monotonic_ns(),
        }
        try:
            link.start()
            link.request("session.open", params, BIND_SECONDS)
            return True
        except (AgentError, Unavailable) as error:
            log.warning("lezea-monitor: process %d cannot be told apart: %s", pid, error)
            return False

    def _name(self, parts: Parts) -> str:
        """One name for these parts; another where other parts have it (`a+b` may be one part)."""
        name = "+".join(parts)
        while self._names.setdefault(name, parts) != parts:
            name += "'"
        return name

    def used_by(self, part: str) -> Optional[Dict[str, float]]:
        """Columns that the part has used so far; None where nobody knows."""
        if part in self.unknown:
            return None
        total: Optional[Dict[str, float]] = None
        for path, parts in list(self.paths.items()):
            if part in parts:
                columns = self._of(path)
                if columns is None:
                    return None
                shared = {name: value / len(parts) for name, value in columns.items()}
                total = shared if total is None else _sum(total, shared, 1)
        return {} if total is None else total

    def _of(self, path: str) -> Optional[Dict[str, float]]:
        """The scope without the scopes of ours that were entered inside it."""
        columns = self._ask(path)
        for other in list(self.paths):
            if columns is not None and self._outer(other) == path:
                inner = self._ask(other)
                columns = None if inner is None else _sum(columns, inner, -1)
        return columns

    def _outer(self, path: str) -> str:
        """The nearest scope of ours that this one is in; empty: none."""
        outer = path
        while "/" in outer:
            outer = outer.rpartition("/")[0]
            if outer in self.paths:
                return outer
        return ""

    def _ask(self, path: str) -> Optional[Dict[str, float]]:
        if not self._run.active:
            return None
        return self._run.usage(path, fresh=True).columns or None


def _sum(one: Dict[str, float], other: Dict[str, float], sign: int) -> Dict[str, float]:
    """What both know."""
    return {name: one[name] + sign * other[name] for name in one if name in other}
