"""Which parts are going on in a process, and the scopes that stand for them.

A thread is in one scope at a time, so parts of one process that go on at the same moment are one
scope together, `part:a+b`, and each has an equal share of it: nobody can tell them apart, and their
sum is the process. Owns the open scope of each process; nothing here raises or, for the own process,
waits.
"""

import os
import time
from typing import Any, Dict, Optional, Set, Tuple

from ..names import encode_name
from ..noop import warn_once
from .usages import Columns, usages

LEVEL = "part"
NONE_GOING_ON = "(none)"
BIND_SECONDS = 2.0

Parts = Tuple[str, ...]


class Shares:
    """The scopes of one ResourceLogger: by path, the parts that share what it has used."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._begin(_suffix(run))

    def _begin(self, suffix: str) -> None:
        """suffix: of names; processes of one run must not be in one another's scopes."""
        self._pid = os.getpid()
        self._suffix = suffix
        self.paths: Dict[str, Parts] = {}
        self.unknown: Set[str] = set()  # parts of processes that the agent does not let us say
        self._names: Dict[str, Parts] = {}
        self._refused: Set[int] = set()  # processes that the agent does not let us bind
        self._open: Any = None

    def going_on(self, pid: int, parts: Parts) -> None:
        """From now on these parts of the process, and no others, are going on."""
        if os.getpid() != self._pid:  # a forked child
            self._begin("@%d" % os.getpid())
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
        if link is None or not self._run.active or pid in self._refused:
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
            if isinstance(error, AgentError):
                self._refused.add(pid)
            warn_once("part", "what process %d uses cannot be told apart: %s", pid, error)
            return False

    def _name(self, parts: Parts) -> str:
        """One name for these parts; another where other parts have it (`a+b` may be one part)."""
        name = "+".join(parts) + self._suffix
        while self._names.setdefault(name, parts) != parts:
            name += "'"
        return name

    def used_by(self, part: str) -> Optional[Columns]:
        """Columns that the part has used so far; None where nobody knows."""
        if part in self.unknown:
            return None
        paths = dict(self.paths)  # other threads may go on meanwhile
        inner = {path: _outer(path, paths) for path in paths}
        own = [path for path, parts in paths.items() if part in parts]
        needed = [path for path in paths if path in own or inner[path] in own]
        known = usages(self._run, needed)
        if len(known) < len(needed):
            return None
        total: Columns = {}
        for number, path in enumerate(own):
            # Less the scopes of ours that were entered inside it, whose figures it holds.
            columns = known[path]
            for other in needed:
                if inner[other] == path:
                    columns = _sum(columns, known[other], -1)
            shared = {name: value / len(paths[path]) for name, value in columns.items()}
            total = _sum(total, shared, 1) if number else shared
        return total


def _suffix(run: Any) -> str:
    """Nothing for the process that made the run; of ranks, always the rank, so that runs compare."""
    link = getattr(run, "_link", None)
    told = {} if link is None else link.identity.run
    if told.get("world_size", 1) > 1 and "rank" in told:
        return "@rank%d" % told["rank"]
    return "" if run.created else "@%d" % os.getpid()


def _outer(path: str, ours: Dict[str, Parts]) -> str:
    """The nearest scope of ours that this one is in; empty: none."""
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in ours:
            return path
    return ""


def _sum(one: Columns, other: Columns, sign: int) -> Columns:
    """What both know."""
    return {name: one[name] + sign * other[name] for name in one if name in other}
