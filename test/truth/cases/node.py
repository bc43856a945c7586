"""The node's counters against Debian's prometheus-node-exporter, side by side.

Both read the same kernel files at different instants. One instant must explain all of an agent's
counters together: between two readings of the exporter 50 ms apart, each of them lies between what
the exporter saw then, give or take one tick of the clock it is counted in.
"""

import re
import shutil
import subprocess
import threading
import time
from typing import Dict, List, Optional, Tuple

from harness.exposition import Families, Labels, fetch, parse
from harness.ports import free_port
from harness.registry import Skip, case
from harness.truth import Truth

BINARY = "prometheus-node-exporter"
COLLECTORS = ("cpu", "meminfo", "diskstats", "netdev")
PERIOD_SECONDS, SECONDS = 0.05, 4.0
USER_TICK_SECONDS = 0.01  # what /proc/stat counts in
Series = Dict[Tuple[str, Labels], float]


class Exporter:
    """The exporter, read again and again by a thread."""

    def __init__(self) -> None:
        if shutil.which(BINARY) is None:
            raise Skip("no %s: apt-get install -y %s" % (BINARY, BINARY))
        address = "127.0.0.1:%d" % free_port()
        flags = ["--collector.disable-defaults"] + ["--collector." + c for c in COLLECTORS]
        self._process = subprocess.Popen(
            [BINARY, "--web.listen-address=" + address, "--web.disable-exporter-metrics", *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._url = "http://%s/metrics" % address
        self.readings: List[Series] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> "Exporter":
        deadline = time.monotonic() + 10
        while True:
            try:
                fetch(self._url)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._process.kill()
        self._process.wait()

    def _work(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            self.readings.append(_series(parse(fetch(self._url)), "node_"))


def _series(families: Families, prefix: str) -> Series:
    """By name without prefix; the exporter's MemTotal is mem_total here as in the agent."""
    return {
        (re.sub(r"([a-z])([A-Z])", r"\1_\2", name[len(prefix):]).lower(), labels): value
        for name, samples in families.items()
        if name.startswith(prefix)
        for labels, value in samples.items()
    }  # fmt: skip


def _outside(a: float, b: float, value: float) -> float:
    """How far a value is outside of what two readings saw."""
    return max(min(a, b) - value, value - max(a, b), 0.0)


def _kind(name: str) -> Optional[str]:
    if name == "cpu_seconds_total":
        return "cpu"
    for kind in ("disk", "network"):
        if name.startswith(kind + "_") and name.endswith("_total"):
            return kind
    return "memory" if name.startswith("memory_") else None


ALLOWED = {"cpu": USER_TICK_SECONDS, "disk": USER_TICK_SECONDS, "network": 0.0}


def _best(seen: Series, readings: List[Series]) -> Tuple[int, Dict[str, float]]:
    """The pair of readings that explains the counters best; the worst distance per kind."""
    best: Optional[Tuple[float, int, Dict[str, float]]] = None
    for i, (before, after) in enumerate(zip(readings, readings[1:])):
        worst: Dict[str, float] = {}
        for key, value in seen.items():
            kind = _kind(key[0])
            if kind and key in before and key in after:
                distance = _outside(before[key], after[key], value)
                worst[kind] = max(worst.get(kind, 0.0), distance)
        score = sum(max(0.0, worst.get(kind, 0.0) - ALLOWED[kind]) for kind in ALLOWED)
        if best is None or score < best[0]:
            best = (score, i, worst)
    assert best is not None
    return best[1], best[2]


@case("node_counters")
def node_counters(truth: Truth) -> None:
    """CPU, memory, disk and network of the node: prometheus-node-exporter's, within one tick."""
    load = truth.start("two_threads", truth.run_id())
    agent_url = truth.agent.http + "/metrics"
    seen: List[Series] = []
    with Exporter() as exporter:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(1.0)
            seen.append(_series(parse(fetch(agent_url)), "lezea_node_"))
        time.sleep(3 * PERIOD_SECONDS)
    load.finish()
    readings = exporter.readings
    common = {key for key in seen[-1] if key in readings[-1]}
    for kind, least in (("cpu", 8), ("disk", 5), ("network", 8), ("memory", 15)):
        count = sum(1 for key in common if _kind(key[0]) == kind)
        truth.holds("%d series of %s in both" % (count, kind), count >= least, "%d" % count)
    worst: Dict[str, float] = {}
    for one in seen[1:]:  # the first may have been read before the exporter was
        _, distances = _best(one, readings)
        for kind, distance in distances.items():
            worst[kind] = max(worst.get(kind, 0.0), distance)
    for kind, unit in (("cpu", "s"), ("disk", ""), ("network", "B")):
        truth.within("%s counters outside of the exporter's" % kind, 0.0, worst.get(kind), unit,
                     absolute=ALLOWED[kind])  # fmt: skip
    total = readings[-1][("memory_mem_total_bytes", ())]
    truth.within("MemTotal", total, seen[-1].get(("memory_mem_total_bytes", ())), "B")
    truth.within("memory figures outside of the exporter's", 0.0, worst.get("memory"), "B",
                 absolute=0.01 * total)  # fmt: skip
