"""A call of a watched torch module, beside hooks that enter torch.profiler.record_function."""

import json
import os
import subprocess
import sys

from benchlib.figures import Report
from harness.agent import Agent
from harness.paths import REPOSITORY

WORKLOAD = os.path.join(REPOSITORY, "bench", "workloads", "watch_calls.py")
PEER = "record_function in module hooks"
BUDGET = 1.0  # forward, of ours / the peer's, with the accelerator


def measure(report: Report) -> None:
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode != 0:
        report.absent("watched module call", "torch is not installed")
        return
    agent = Agent()
    try:
        agent.start()
        for pure in ("", "1"):
            add(report, agent, pure)
        agent.stop()
    finally:
        agent.remove()


def add(report: Report, agent: Agent, pure: str) -> None:
    env = dict(os.environ, LEZEA_MONITOR_SOCKET=agent.socket, LEZEA_MONITOR_PURE=pure)
    client = os.path.join(REPOSITORY, "python")
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [client, env.get("PYTHONPATH", "")]))
    env.pop("LEZEA_RUN_ID", None)
    command = [sys.executable, "-W", "ignore", WORKLOAD, str(2 * report.seconds)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, timeout=300)
    said = json.loads(done.stdout)
    if not pure and not said["accelerated"]:
        report.absent("watched module call, accelerated", "the accelerator is not built")
        return
    way = "accelerated" if said["accelerated"] else "Python only"
    rounds = said["rounds"]
    for name, title in (("forward", "forward"), ("training", "forward and backward")):
        title = "watched module call, %s, %s" % (title, way)
        budget = BUDGET if name == "forward" and not pure else None
        report.against(
            title, "us CPU", rounds[name + " ours"], PEER, rounds[name + " record_function"], budget
        )
