"""What a training loop loses to the agent and its scopes: one scope in 10 ms, one in 100 µs."""

import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
from typing import Any, Dict, List, Optional, Tuple

from benchlib.figures import Report
from harness.agent import Agent
from harness.paths import REPOSITORY

WORKLOAD = os.path.join(REPOSITORY, "bench", "workloads", "training.py")
RESAMPLES = 2000
PROCESSES = 6  # where a process's memory lies makes a tenth of what a scope costs
KINDS = {
    "scoped": "",
    "managed": ", an empty context manager instead",
    "locked": ", a lock instead",
}
# Title, units of 100 µs in a scope, the greatest ratio; None: no difference that can be measured.
CASES = [
    ("one scope in 10 ms", 100, None),
    ("one scope in 100 µs", 1, 1.01),
]


def measure(report: Report) -> None:
    if importlib.util.find_spec("numpy") is None:
        return report.absent("training", "NumPy is not installed")
    agent = Agent()
    try:
        agent.start()
        for title, units, budget in CASES:
            for pure in ("", "1"):
                parts = [
                    run_workload(agent, 4 * report.seconds / PROCESSES, units, pure)
                    for _ in range(PROCESSES)
                ]
                said = {**parts[0], **{kind: pairs(parts, kind) for kind in KINDS if kind in parts[0]}}
                way = "accelerated" if said["accelerated"] else "Python only"
                add(report, "%s, %s" % (title, way), said, budget)
        agent.stop()
    finally:
        agent.remove()


def pairs(parts: List[Dict[str, Any]], kind: str) -> List[Any]:
    return [pair for said in parts for pair in said[kind]]


def run_workload(agent: Agent, seconds: float, units: int, pure: str) -> Dict[str, Any]:
    client = os.path.join(REPOSITORY, "python")
    env = dict(os.environ, LEZEA_MONITOR_SOCKET=agent.socket, LEZEA_MONITOR_PURE=pure)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [client, env.get("PYTHONPATH", "")]))
    env.pop("LEZEA_RUN_ID", None)
    command = [sys.executable, WORKLOAD, str(seconds), str(units), str(agent.pid)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, timeout=600)
    said: Dict[str, Any] = json.loads(done.stdout)
    return said


def add(report: Report, title: str, said: Dict[str, Any], budget: Optional[float]) -> None:
    """Ratios of step time with / without, by CPU and by wall: median and 95 % interval.

    Blocks have a budget for their CPU time: of the wall time others on the machine take their
    share. The empty context manager in the same place tells what any code there costs, the lock
    what a `with` does at least.
    """
    clocks = ["wall time"] if len(said["scoped"][0]) == 1 else ["CPU time", "wall time"]
    for index, clock in enumerate(clocks):
        for kind, what in KINDS.items():
            if kind not in said:
                continue
            interval = bootstrap([pair[index] for pair in said[kind]])
            judged = index == 0 and kind == "scoped"
            most = budget if judged and said["accelerated"] else None
            noise = judged and budget is None
            report.ratio("%s, %s%s" % (title, clock, what), interval, most, noise)


def bootstrap(values: List[float]) -> Tuple[float, float, float]:
    """The median of the values, and the 2.5 % and 97.5 % points of resampled medians."""
    choose = random.Random(1)
    medians = sorted(
        statistics.median(choose.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    cut = RESAMPLES // 40
    return statistics.median(values), medians[cut], medians[-cut - 1]
