"""LeZeA's ResourceLogger: its methods and keys, the agent's figures.

    from lezea_monitor.compat import ResourceLogger

A part is a process, the own one by default, for as long as it is started. Where several parts of
one process are, they share what it uses. Without an agent, and for a process that is no child of
this one, the figures are unknown (see figures.py).
"""

import os
import threading
import time
from typing import Any, Dict, List, Optional

from .. import client
from .figures import KEYS, Figures, figures
from .shares import Shares
from .usages import Columns


class _Part:
    """One part: whose it is and when it was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.since: Optional[float] = None  # CLOCK_MONOTONIC, seconds; None: not started
        self.elapsed_before = 0.0  # seconds it was started, up to the last stop
        self.ever = False
        self.known = Figures()  # the greatest totals seen: they stay where the agent has gone
        self.told = Figures()  # totals at the last sample

    def elapsed(self, now: float) -> float:
        return self.elapsed_before + (0.0 if self.since is None else now - self.since)

    def totals(self, columns: Optional[Columns]) -> Figures:
        """So far. columns: what the agent says now; None: it does not."""
        for key, value in figures(columns or {}).items():
            self.known[key] = max(value, self.known.get(key, 0.0))
        totals = Figures(self.known) if self.ever else Figures(dict.fromkeys(KEYS, 0.0))
        totals["elapsed_s"] = self.elapsed(time.monotonic())
        return totals


class ResourceLogger:
    """What each part of the program has used: `cpu_h, mem_gb_h, gpu_h, io_bytes, elapsed_s`."""

    def __init__(self, run: Any = None) -> None:
        """run: what `start_run` returned; default: the process's run, started if need be."""
        self._run = client.start_run() if run is None else run
        self._shares = Shares(self._run)
        self._parts: Dict[str, _Part] = {}
        self._lock = threading.RLock()

    def register_part(self, name: object, pid: Optional[int] = None) -> None:
        """pid: of a child process; default this process. A known part stays as it is."""
        with self._lock:
            self._parts.setdefault(str(name), _Part(os.getpid() if pid is None else int(pid)))

    def start(self, name: object) -> None:
        """The part begins: the calling thread, and all that have announced nothing, work for it."""
        with self._lock:
            part = self._part(name)
            if part.since is None:
                part.since, part.ever = time.monotonic(), True
                self._tell(part.pid)

    def stop(self, name: object) -> None:
        """The part ends, or pauses."""
        with self._lock:
            part = self._part(name)
            if part.since is not None:
                part.elapsed_before, part.since = part.elapsed(time.monotonic()), None
                self._tell(part.pid)

    def sample(self, name: object) -> Figures:
        """What the part has used since it was last sampled. Waits for the agent, 2 s at most."""
        part = self._part(name)
        columns = self._ask(str(name), part)
        with self._lock:
            now = part.totals(columns)
            since = Figures({key: value - part.told.get(key, 0.0) for key, value in now.items()})
            part.told.update(now)
            return since

    def sample_all(self) -> Dict[str, Figures]:
        """`sample` of every part that is started."""
        with self._lock:
            started = [name for name, part in self._parts.items() if part.since is not None]
        return {name: self.sample(name) for name in started}

    def get_totals(self) -> Dict[str, Figures]:
        """What every part has used so far."""
        totals = {}
        for name, part in list(self._parts.items()):
            columns = self._ask(name, part)
            with self._lock:
                totals[name] = part.totals(columns)
        return totals

    def _ask(self, name: str, part: _Part) -> Optional[Columns]:
        """Without the lock: who starts and stops parts does not wait for the agent."""
        return self._shares.used_by(name) if part.ever else None

    def _part(self, name: object) -> _Part:
        self.register_part(name)
        return self._parts[str(name)]

    def _tell(self, pid: int) -> None:
        going_on: List[str] = [
            name for name, part in self._parts.items() if part.pid == pid and part.since is not None
        ]
        self._shares.going_on(pid, tuple(sorted(going_on)))
