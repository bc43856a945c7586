"""A scope entered and left in Python, named each time, beside other libraries' marks and spans."""

import json
import os
import statistics
import subprocess
import sys
from typing import Any, Dict, List

from harness.agent import Agent
from harness.paths import REPOSITORY

WORKLOAD = os.path.join(REPOSITORY, "bench", "workloads", "scope_edges.py")
EMPTY = "contextlib.contextmanager, empty"
# Of ours / the peer's, by whether the accelerator is at work.
BUDGETS = {
    True: {EMPTY: 1.1, "torch.profiler.record_function": 0.2},
    False: {EMPTY: 2.3},
}


def measure(seconds: float) -> List[Dict[str, Any]]:
    """A row each for the accelerator and for Python only, and both with every clock reading."""
    agent = Agent().start()
    try:
        rows = []
        for pure in ("", "1"):
            said = run_workload(agent, seconds, pure)
            if not pure and not said["accelerated"]:
                rows.append({"row": "scope enter+exit, accelerated", "absent": "not built"})
            else:
                rows += rows_of(said)
        return rows
    finally:
        agent.stop()
        agent.remove()


def run_workload(agent: Agent, seconds: float, pure: str) -> Dict[str, Any]:
    client = os.path.join(REPOSITORY, "python")
    env = dict(os.environ, LEZEA_MONITOR_SOCKET=agent.socket, LEZEA_MONITOR_PURE=pure)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [client, env.get("PYTHONPATH", "")]))
    env.pop("LEZEA_RUN_ID", None)
    command = [sys.executable, WORKLOAD, str(seconds)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, timeout=300)
    said: Dict[str, Any] = json.loads(done.stdout)
    return said


def rows_of(said: Dict[str, Any]) -> List[Dict[str, Any]]:
    rounds = dict(said["rounds"])
    way = "accelerated" if said["accelerated"] else "Python only"
    ours, read = rounds.pop("ours"), rounds.pop("ours, clock read at every edge")
    title = "scope enter+exit, %s" % way
    return [
        row(title, ours, rounds, BUDGETS[said["accelerated"]], said["absent"]),
        row(title + ", CPU clock read at every edge", read, rounds, {}, said["absent"]),
    ]


def row(
    title: str,
    ours: List[float],
    peers: Dict[str, List[float]],
    budgets: Dict[str, float],
    absent: Dict[str, str],
) -> Dict[str, Any]:
    """Medians in µs, and of ours / the peer's round by round with their quartiles."""
    ratios = {}
    for name, theirs in peers.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs)], n=4)
        ratios[name] = {"ratio": middle, "low": low, "high": high}
        if name in budgets:
            ratios[name].update(budget=budgets[name], met=middle <= budgets[name])
    return {
        "row": title,
        "ours_us": statistics.median(ours),
        "peers": {name: statistics.median(theirs) for name, theirs in peers.items()},
        "ratios": ratios,
        "absent": absent,
        "rounds": {"ours": ours, **peers},
    }
