"""One sample of one process, against a C floor, psutil, and monitors that do the same for a living.

The floor does the same reads on kept-open descriptors and parses nothing. All in CPU time a process.
"""

import os
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request
from typing import Callable, List, Optional, Tuple

from benchlib.figures import Report
from benchlib.processes import Sleepers, cpu_seconds
from benchlib.programs import Missing, native, node_peer

EXPORTER = "prometheus-process-exporter"
ROUNDS = 5
Ask = Callable[[List[int], float], List[float]]


def measure(report: Report) -> None:
    with Sleepers(100) as sleepers:
        pids = sleepers.pids
        found = native("sample", report.seconds, *pids)
        in_us = {name: [ns / 1000 for ns in values] for name, values in found.items()}
        ours, floor = in_us["reader"], in_us["floor"]
        report.against("sample", "us CPU", ours, "C, the same reads", floor, 1.5)
        report.against("sample", "us CPU", ours, "C, CPU clock + statm + io", in_us["three"])
        report.against("whole tick, a process", "us CPU", in_us["tick"], "C, the same reads", floor)
        for peer, budget, ask in PEERS:
            _compare(report, pids, peer, budget, ask)


def _compare(
    report: Report, pids: List[int], peer: str, budget: Optional[float], ask: Ask
) -> None:
    """In turns: each round is a run of ours and one of theirs."""
    ours: List[float] = []
    theirs: List[float] = []
    for _ in range(ROUNDS):
        try:
            theirs.append(statistics.median(ask(pids, report.seconds / ROUNDS)))
        except Missing as why:
            return report.absent("sample, against " + peer, "not installed: %s" % why)
        turn = native("sample", report.seconds / ROUNDS / 4, *pids)
        ours.append(statistics.median(turn["reader"]) / 1000)
    report.against("sample", "us CPU", ours, peer, theirs, budget)


def _psutil(pids: List[int], seconds: float) -> List[float]:
    try:
        import psutil
    except ImportError as why:
        raise Missing(why) from None
    processes = [psutil.Process(pid) for pid in pids]
    rounds = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(rounds) < 5:
        begun = time.thread_time()
        for process in processes:
            with process.oneshot():
                process.cpu_times()
                process.memory_info()
                process.io_counters()
        rounds.append((time.thread_time() - begun) / len(processes) * 1e6)
    return rounds


def _process_exporter(pids: List[int], seconds: float) -> List[float]:
    """Its CPU time a scrape, shared among all processes of the machine, which it reads each time."""
    program = shutil.which(EXPORTER) or shutil.which("process-exporter")
    if program is None:
        raise Missing("%s is not on the PATH (Debian has it)" % EXPORTER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "-web.listen-address", "127.0.0.1:%d" % port, "-procnames", "sleep,python3"]
    exporter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _scrape(port, exporter)
        rounds = []
        until = time.monotonic() + seconds
        while time.monotonic() < until or len(rounds) < 5:
            begun = cpu_seconds(exporter.pid)
            _scrape(port, exporter)
            every = sum(1 for name in os.listdir("/proc") if name.isdigit())
            rounds.append((cpu_seconds(exporter.pid) - begun) / every * 1e6)
        return rounds
    finally:
        exporter.kill()
        exporter.wait()


def _scrape(port: int, exporter: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while exporter.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=10) as page:
                page.read()
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the exporter did not answer")


PEERS: List[Tuple[str, Optional[float], Ask]] = [
    ("psutil", 1 / 10, _psutil),
    ("pidusage", None, lambda pids, seconds: node_peer("pidusage.mjs", *pids)),
    ("systeminformation", None, lambda pids, seconds: node_peer("systeminformation.mjs", *pids)),
    (EXPORTER, None, _process_exporter),
]
