"""A scope entered and left in Python, named each time, beside other libraries' marks and spans."""

import json
import os
import subprocess
import sys
from typing import Any, Dict

from benchlib.figures import Report
from harness.agent import Agent
from harness.paths import REPOSITORY

WORKLOAD = os.path.join(REPOSITORY, "bench", "workloads", "scope_edges.py")
EMPTY = "contextlib.contextmanager, empty"
# Of ours / the peer's, by whether the accelerator is at work.
BUDGETS = {
    True: {EMPTY: 1.1, "torch.profiler.record_function": 0.2},
    False: {EMPTY: 2.3},
}


def measure(report: Report) -> None:
    agent = Agent()
    try:
        agent.start()
        for pure in ("", "1"):
            said = run_workload(agent, 2 * report.seconds, pure)
            if not pure and not said["accelerated"]:
                report.absent("scope enter+exit, accelerated", "the accelerator is not built")
            else:
                add(report, said)
        agent.stop()
    finally:
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


def add(report: Report, said: Dict[str, Any]) -> None:
    """Each peer in turn, and once more with the CPU clock read at every edge."""
    rounds = dict(said["rounds"])
    title = "scope, %s" % ("accelerated" if said["accelerated"] else "Python only")
    ours, read = rounds.pop("ours"), rounds.pop("ours, clock read at every edge")
    budgets = BUDGETS[said["accelerated"]]
    for name, theirs in rounds.items():
        report.against(title, "us CPU", ours, name, theirs, budgets.get(name))
    report.against(title + ", clock read each time", "us CPU", read, EMPTY, rounds[EMPTY])
    for name, why in said["absent"].items():
        report.absent(title + ", against " + name, "not installed: %s" % why)
