"""What the workloads share: starting a run, using CPU, and saying what was really used.

The truth here is the workload's own: thread and process CPU clocks, its cgroup's cpu.stat,
/proc/self/io. All times are ns of CLOCK_MONOTONIC or of a CPU clock, all sizes bytes.
"""

import hashlib
import json
import mmap
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional

import lezea_monitor as lm

BLOCK = bytes(1 << 16)  # hashing this much (about 50 to 200 µs) releases the interpreter's lock


def begin(run_id: str, **options: Any) -> Any:
    """A run that is really recorded; anything else is a failure of the workload."""
    run = lm.start_run("truth", run_id=run_id, **options)
    if not run.active:
        sys.exit("no run: the agent was not found or refused")
    return run


def say(**values: Any) -> None:
    """One line for the harness."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def fresh(run: Any, column: str, path: Optional[str] = None) -> float:
    """A figure as of now, from the agent."""
    value = getattr(run.usage(path, fresh=True), column)
    if value is None:
        sys.exit("run.usage(%r, fresh=True) has no %s" % (path, column))
    return value


def burn(cpu_ns: int) -> int:
    """Uses this much of the calling thread's CPU, with the interpreter's lock; how much it was."""
    begun = time.thread_time_ns()
    while True:
        used = time.thread_time_ns() - begun
        if used >= cpu_ns:
            return used


def burn_native(cpu_ns: int) -> int:
    """The same in native code, without the lock, so that threads run at once."""
    begun = time.thread_time_ns()
    while True:
        hashlib.sha256(BLOCK)
        used = time.thread_time_ns() - begun
        if used >= cpu_ns:
            return used


def cgroup_ns() -> Optional[int]:
    """CPU of everything that ever ran in the workload's cgroup; None without one."""
    path = os.environ.get("TRUTH_CPU_STAT")
    if path is None:
        return None
    with open(path, encoding="ascii") as stat:
        for line in stat:
            if line.startswith("usage_usec "):
                return int(line.split()[1]) * 1000
    return None


class Span:
    """The kernel's and the agent's CPU figures of a stretch of the run.

    At either edge the cgroup is read outside of the agent's sample, so that its stretch holds the
    agent's: what the agent says can be a little less and must not be more.
    """

    def __init__(self, run: Any) -> None:
        self._cgroup = cgroup_ns()
        self._own = time.process_time_ns()
        self._agent = fresh(run, "cpu_seconds")

    def end(self, run: Any) -> Dict[str, Optional[float]]:
        """Ends the run; seconds by the agent, the cgroup, and this process's own clock."""
        run.end()
        agent = run.usage().cpu_seconds
        own, cgroup = time.process_time_ns(), cgroup_ns()
        held = None if cgroup is None or self._cgroup is None else (cgroup - self._cgroup) / 1e9
        return {
            "agent": None if agent is None else agent - self._agent,
            "agent_before": self._agent,
            "own": (own - self._own) / 1e9,
            "cgroup": held,
        }


def threads(count: int, body: Callable[[int], Any]) -> List[Any]:
    """Runs `body(i)` in `count` threads; what each returned."""
    results: List[Any] = [None] * count

    def keep(i: int) -> None:
        results[i] = body(i)

    started = [threading.Thread(target=keep, args=(i,)) for i in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if None in results:
        sys.exit("a thread of the workload failed")
    return results


def fork(body: Callable[[], Any]) -> int:
    """A child that runs `body` and nothing else; its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    return pid


def reap(*pids: int) -> None:
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        if status != 0:
            sys.exit("a child of the workload ended with status %d" % status)


def own_io() -> Dict[str, int]:
    """/proc/self/io: of this process and, added to it, of the children it has reaped."""
    with open("/proc/self/io", encoding="ascii") as lines:
        pairs = (line.split(":") for line in lines)
        return {name: int(value) for name, value in pairs}


def resident(size: int, huge: bool = True) -> mmap.mmap:
    """Anonymous memory, all of it touched at once; without `huge`, of 4 KiB pages."""
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if not huge:
        held.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, size, mmap.PAGESIZE):
        held[at] = 1
    return held


def proportional_bytes(pid: object = "self") -> int:
    """Pss of /proc/PID/smaps_rollup."""
    with open("/proc/%s/smaps_rollup" % pid, encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
