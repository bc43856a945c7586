"""What an agent costs while it runs: read from /proc and asked of its socket, a line of figures at a time."""

import os
import time
from dataclasses import dataclass
from typing import Dict, List

from .agent import Agent, Refused

ASKED = 20  # questions at a look
RETURN_SECONDS = 10.0


@dataclass
class Look:
    """One look: seconds since the soak began; MiB; counts; milliseconds; share of one core since the look before."""

    at: float
    rss_mib: float
    descriptors: int
    threads: int
    latency_p50_ms: float
    latency_max_ms: float
    cpu_percent: float


class Watch:
    """Looks at one agent, over its restarts."""

    def __init__(self, agent: Agent, run_id: str) -> None:
        self._agent = agent
        self._run_id = run_id
        self._begun = time.monotonic()
        self._cpu: Dict[int, "tuple[float, float]"] = {}

    def look(self) -> Look:
        pid = self._agent.pid
        status = _status(pid)
        latencies = sorted(self._ask() for _ in range(ASKED))
        return Look(
            at=time.monotonic() - self._begun,
            rss_mib=int(status["VmRSS"].split()[0]) / 1024,
            descriptors=len(os.listdir("/proc/%d/fd" % pid)),
            threads=int(status["Threads"]),
            latency_p50_ms=latencies[ASKED // 2],
            latency_max_ms=latencies[-1],
            cpu_percent=self._cpu_percent(pid),
        )

    def _ask(self) -> float:
        begun = time.perf_counter()
        while True:
            try:
                self._agent.ask("run.usage", {"run_id": self._run_id})
                return (time.perf_counter() - begun) * 1000
            except Refused as refused:
                # After a restart all sessions of this owner return at once, and fill its idle connections.
                if "idleConnections" not in str(refused) or time.perf_counter() - begun > RETURN_SECONDS:
                    raise
                time.sleep(0.05)

    def _cpu_percent(self, pid: int) -> float:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        now = time.monotonic()
        before_used, before = self._cpu.get(pid, (used, now - 1))
        self._cpu = {pid: (used, now)}
        return (used - before_used) / (now - before) * 100


def _status(pid: int) -> Dict[str, str]:
    with open("/proc/%d/status" % pid, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def median(looks: List[Look], figure: str) -> float:
    values = sorted(getattr(look, figure) for look in looks)
    return values[len(values) // 2]


def low(looks: List[Look], figure: str) -> float:
    """The tenth part of the values is below it."""
    values = sorted(getattr(look, figure) for look in looks)
    return values[len(values) // 10]
