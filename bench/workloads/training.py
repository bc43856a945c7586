"""A NumPy MLP on one core, with and without lezea-monitor: `training.py SECONDS UNITS AGENT_PID`.

Expects an agent (LEZEA_MONITOR_SOCKET), stopped by SIGSTOP but in the blocks with scopes. A unit is
about 100 µs of real work, a scope is around UNITS of them. Blocks are short and go plain, scoped,
managed, managed, scoped, plain, for what else the machine does changes; a managed one has an empty
contextlib.contextmanager where the scope is. Prints JSON: `scoped` and `managed`, a pair for each
such round, their time over that of the plain blocks, by this thread's CPU clock and by the wall;
`unit_us`. With UNITS 1 every unit is timed by itself, for a scope each 100 µs is far below what blocks
differ by anyway. A round's figure is the ratio of the work's medians, plus the mean of what its two
edges take, in which what only some scopes do counts: IO stamps, readings of clocks. The ring is written
once before, as it is after a second of such training. There is `locked` then too, a lock in the scope's
place: the least that a `with` costs which is given a name.
"""

import contextlib
import json
import os
import random
import signal
import statistics
import sys
import threading
import time

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

import lezea_monitor as lm  # noqa: E402
from lezea_monitor.layout import DEFAULT_CAPACITY  # noqa: E402

UNIT_US = 100
BLOCK_SECONDS = 0.1  # as long as the agent's tick
TURN = 100  # units of one kind in a row: 10 ms, as IO stamps are apart
WARM_UP = 50  # units before them at least, which come after 60 ms of something else
TURNS = 5
PREEMPTED_NS = 1_000_000  # edges do not take as long
WIDTH = 96


class Network:
    """Two layers, tanh, squared error, gradient descent; the same numbers for the same seed."""

    def __init__(self, batch: int) -> None:
        numbers = np.random.default_rng(1)
        self.x = numbers.standard_normal((batch, WIDTH))
        self.y = numbers.standard_normal((batch, 1))
        self.first = numbers.standard_normal((WIDTH, WIDTH)) * 0.1
        self.second = numbers.standard_normal((WIDTH, 1)) * 0.1

    def step(self) -> None:
        hidden = np.tanh(self.x @ self.first)
        error = (hidden @ self.second - self.y) / len(self.y)
        back = (error @ self.second.T) * (1 - hidden * hidden)
        self.second -= 0.01 * (hidden.T @ error)
        self.first -= 0.01 * (self.x.T @ back)


def step_us(network: Network, steps: int = 500) -> float:
    """The median, for what the machine does besides comes in bursts."""
    taken = []
    for _ in range(steps):
        begin = time.monotonic_ns()
        network.step()
        taken.append(time.monotonic_ns() - begin)
    return statistics.median(taken) / 1000


def calibrated() -> Network:
    """One whose step takes about UNIT_US here."""
    batch = 32
    for _ in range(5):  # time is not quite proportional to the batch
        batch = max(1, round(batch * UNIT_US / step_us(Network(batch))))
    return Network(batch)


def plain(network, units, scopes):
    step = network.step
    for _ in range(scopes):
        for _ in range(units):
            step()


def inside(network, units, scopes, make):
    step = network.step
    for _ in range(scopes):
        with make("x"):
            for _ in range(units):
                step()


@contextlib.contextmanager
def empty(name):
    yield


def one_lock(name, lock=threading.Lock()):
    return lock


def block(network, units, scopes, kind, run, agent):
    """(CPU ns, wall ns). But in a scoped block nothing of ours works, here or beside."""
    os.kill(agent, signal.SIGCONT if kind == "scoped" else signal.SIGSTOP)
    wall, cpu = time.monotonic_ns(), time.thread_time_ns()
    if kind == "plain":
        plain(network, units, scopes)
    else:
        inside(network, units, scopes, run.layer if kind == "scoped" else empty)
    return time.thread_time_ns() - cpu, time.monotonic_ns() - wall


def measured(seconds, units, network, run, agent):
    scopes = max(1, round(BLOCK_SECONDS * 1e6 / step_us(network) / units))
    kinds = ["plain", "scoped", "managed"]
    ratios = {"scoped": [], "managed": []}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or not ratios["scoped"]:
        sums = {kind: [0, 0] for kind in kinds}
        for kind in kinds + kinds[::-1]:
            taken = block(network, units, scopes, kind, run, agent)
            sums[kind] = [a + b for a, b in zip(sums[kind], taken)]
        for kind, values in ratios.items():
            values.append([a / b for a, b in zip(sums[kind], sums["plain"])])
    return ratios


def timed(network, make):
    """(ns of a unit's work, ns of what is around it): in a context of `make` unless that is None."""
    step, now, begin = network.step, time.monotonic_ns, time.monotonic_ns()
    if make is None:
        entered = now()
        step()
        leaving = now()
    else:
        with make("x"):
            entered = now()
            step()
            leaving = now()
    end = now()
    return leaving - entered, end - leaving + entered - begin


def work_and_edges(taken):
    """The work's median and the edges' mean, ns."""
    edges = [edge for _, edge in taken if edge < PREEMPTED_NS]
    return statistics.median(work for work, _ in taken), statistics.fmean(edges)


def unit_by_unit(seconds, network, run):
    ratios = {"scoped": [], "managed": [], "locked": []}
    makers = {"plain": None, "scoped": run.layer, "managed": empty, "locked": one_lock}
    for _ in range(DEFAULT_CAPACITY // 2):
        with run.layer("x"):
            pass
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or not ratios["scoped"]:
        taken = {kind: [] for kind in makers}
        for _ in range(TURNS):
            for kind in random.sample(list(makers), len(makers)):  # the machine has a rhythm, too
                warm_up = WARM_UP + random.randrange(TURN)  # nor is it the first unit that stamps IO
                units = [timed(network, makers[kind]) for _ in range(warm_up + TURN)]
                taken[kind] += units[warm_up:]
        plain_work, plain_edges = work_and_edges(taken["plain"])
        for kind, values in ratios.items():
            work, edges = work_and_edges(taken[kind])
            values.append([(work + edges - plain_edges) / plain_work])
    return ratios


def main():
    seconds, units, agent = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    network = calibrated()
    run = lm.start_run(experiment="bench")
    try:
        if units == 1:
            ratios = unit_by_unit(seconds, network, run)
        else:
            ratios = measured(seconds, units, network, run, agent)
    finally:
        os.kill(agent, signal.SIGCONT)
    run.end()
    said = {"accelerated": lm.ACCELERATED, "unit_us": step_us(network), **ratios}
    json.dump(said, sys.stdout)


main()
