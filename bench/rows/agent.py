"""The whole agent beside 8 ranks of 200 threads: its CPU and resident memory.

Against a C program that reads the same files of the same processes ten times a second. The agent may
sample less often to keep its budget: that is what the last figures say.
"""

import os
import subprocess
import sys
import time
from typing import Dict, List

from benchlib.figures import Report
from benchlib.paths import BENCH
from benchlib.processes import cpu_seconds, rss_bytes
from benchlib.programs import build
from harness.agent import Agent
from harness.exposition import fetch, parse
from harness.paths import PYTHON_CLIENT

RANKS, THREADS = 8, 200
WINDOW_SECONDS = 5.0
# The sampler looks at its own use every 5 s, and V8 tidies up after a start.
SETTLE_SECONDS = 17.0


def measure(report: Report) -> None:
    settle = SETTLE_SECONDS * min(1.0, report.seconds / 3)
    window = max(1.0, WINDOW_SECONDS * min(1.0, report.seconds / 3))
    for scopes, settings, what in (
        ("one", [], "one thread a rank in a scope"),
        ("one", ["sampling.cpu_budget_percent=0"], "the same, 10 Hz whatever it costs"),
        ("all", [], "all 1 600 threads in scopes"),
        ("all", ["sampling.cpu_budget_percent=0"], "the same, 10 Hz whatever it costs"),
    ):
        _measure_one(report, scopes, settings, what, settle, window)


def _measure_one(
    report: Report, scopes: str, settings: List[str], what: str, settle: float, window: float
) -> None:
    agent = Agent(settings)
    ranks: List["subprocess.Popen[bytes]"] = []
    try:
        agent.start()
        seconds = settle + 4 * window + 30
        ranks = [_start_rank(agent.socket, scopes, seconds) for _ in range(RANKS)]
        for rank in ranks:
            assert rank.stdout is not None
            if not rank.stdout.readline():
                raise RuntimeError("a rank did not start")
        time.sleep(settle)
        pids = [str(rank.pid) for rank in ranks]
        shares: Dict[str, List[float]] = {"agent": [], "floor": []}
        for _ in range(3):
            before, begun = cpu_seconds(agent.pid), time.monotonic()
            floor = subprocess.run(
                [build("tier"), "%g" % window, *pids], capture_output=True, check=True
            )
            shares["agent"].append(
                100 * (cpu_seconds(agent.pid) - before) / (time.monotonic() - begun)
            )
            shares["floor"].append(float(floor.stdout))
        budget = 0.5 if not settings else None
        report.alone(what, "% core", shares["agent"], at_most=budget)
        report.against(what, "% core", shares["agent"], "C, processes at 10 Hz", shares["floor"])
        rss_mib = rss_bytes(agent.pid) / 2**20
        report.alone(what + ", resident", "MiB", [rss_mib], at_most=90.0 if not settings else None)
        page = parse(fetch(agent.http + "/metrics"))
        interval = page["lezea_agent_sampling_interval_seconds"][()]
        report.alone(what + ", sampled every", "s", [interval])
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
        agent.remove()


def _start_rank(socket: str, scopes: str, seconds: float) -> "subprocess.Popen[bytes]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LEZEA_")}
    environment.update(LEZEA_MONITOR_SOCKET=socket, PYTHONPATH=PYTHON_CLIENT)
    script = os.path.join(BENCH, "workloads", "rank.py")
    command = [sys.executable, script, "bench", str(THREADS), scopes, str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
