"""Processes to look at, and what a process has used."""

import os
import subprocess
from types import TracebackType
from typing import List, Optional, Type


class Sleepers:
    """So many processes that do nothing."""

    def __init__(self, count: int) -> None:
        self._processes = [
            subprocess.Popen(["sleep", "3600"], start_new_session=True) for _ in range(count)
        ]
        self.pids: List[int] = [process.pid for process in self._processes]

    def __enter__(self) -> "Sleepers":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time of all living threads of a process (/proc/PID/task/TID/schedstat), exact to the tick."""
    total = 0
    for tid in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/schedstat" % (pid, tid), encoding="ascii") as file:
                total += int(file.read().split()[0])
        except FileNotFoundError:
            continue
    return total / 1e9


def rss_bytes(pid: int) -> int:
    with open("/proc/%d/statm" % pid, encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
