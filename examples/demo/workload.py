"""The demo's workload: a small "training" that really uses the machine, under nested scopes.

Emits progress lines on standard output and, to the file named by its argument, what its own clocks
say of every scope (JSON: seconds of CPU, bytes). `scripts/demo.mjs` holds the agent's figures
against that. Uses NumPy where it is installed, pure Python otherwise.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List

import lezea_monitor as lm

# A scope's own clock here is its thread's: NumPy's library must not compute in threads of its own.
for library in ("OPENBLAS", "MKL", "OMP"):
    os.environ[library + "_NUM_THREADS"] = "1"
try:
    import numpy
except ImportError:
    numpy = None

MIB = 1024 * 1024
LAYER_SECONDS = 0.3  # CPU per visit of a layer
WORKER_SECONDS = 0.8
THREAD_SECONDS = 0.5
SEARCH_SECONDS = 0.6
CHECKPOINT_BYTES = 48 * MIB
REPLAY_BYTES = 96 * MIB
REPLAY_SECONDS = 1.5


def python_step() -> None:
    """A matrix product of 24 x 24 numbers."""
    size = range(24)
    left = [[float(i * j % 7) for j in size] for i in size]
    columns = list(zip(*left))
    for row in left:
        for column in columns:
            sum(a * b for a, b in zip(row, column))


def numpy_step() -> None:
    """A matrix product of 200 x 200 numbers."""
    values = numpy.arange(40_000, dtype="float64").reshape(200, 200) % 7
    values @ values


STEP: Callable[[], None] = python_step if numpy is None else numpy_step


def burn(seconds: float) -> float:
    """Computes until this thread has used so much CPU; returns what it used."""
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        STEP()
    return time.thread_time() - start


class Clock:
    """What the workload's own clocks say: CPU seconds by scope path. Threads may add at once."""

    def __init__(self) -> None:
        self.seconds: Dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, path: str, seconds: float) -> None:
        with self._lock:
            self.seconds[path] = self.seconds.get(path, 0.0) + seconds


def train(run: Any, clock: Clock) -> None:
    """Builders x taskers x networks x layers, each layer with its share of the work."""
    for builder in ("b0", "b1"):
        for tasker in ("t0", "t1"):
            with run.builder(builder), run.tasker(tasker):
                visit_networks(run, clock, "builder:%s/tasker:%s" % (builder, tasker))
                run.progress(steps=4, episodes=1)
            print("trained builder %s, tasker %s" % (builder, tasker), flush=True)


def visit_networks(run: Any, clock: Clock, above: str) -> None:
    for network, weight in (("policy", 1.0), ("value", 0.6)):
        with run.network(network):
            for layer in ("fc1", "fc2"):
                with run.layer(layer):
                    used = burn(LAYER_SECONDS * weight)
                clock.add("%s/network:%s/layer:%s" % (above, network, layer), used)


def load_in_worker(run: Any, shard: int, results: Any) -> None:
    """Runs in a forked process: its use counts in the scope it enters, below where it was forked."""
    with run.scope("shard", shard):
        used = burn(WORKER_SECONDS)
    results.put((shard, used))


def load_in_processes(run: Any, clock: Clock) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    with run.builder("b0"), run.scope("dataloader", "workers"):
        workers = [
            context.Process(target=load_in_worker, args=(run, shard, results)) for shard in range(3)
        ]
        for worker in workers:
            worker.start()
        answers = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
    for shard, used in answers:
        clock.add("builder:b0/dataloader:workers/shard:%d" % shard, used)
    print("loaded in %d worker processes" % len(workers), flush=True)


def evaluate_in_threads(run: Any, clock: Clock) -> None:
    def evaluate(number: int) -> None:
        with run.builder("b1"), run.tasker("eval-%d" % number):
            used = burn(THREAD_SECONDS)
        clock.add("builder:b1/tasker:eval-%d" % number, used)

    threads = [threading.Thread(target=evaluate, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("evaluated in %d threads" % len(threads), flush=True)


def search_in_program(run: Any, clock: Clock) -> None:
    """Another program, started in a scope; it knows nothing of the monitor."""
    code = "import time\nwhile time.process_time() < %f: sum(range(1000))" % SEARCH_SECONDS
    with run.algorithm("search"):
        before = children_seconds()
        subprocess.run([sys.executable, "-c", code], check=True)
        used = children_seconds() - before
    clock.add("algorithm:search", used)
    print("searched in another program", flush=True)


def save_checkpoint(run: Any) -> None:
    block = os.urandom(MIB)
    with run.scope("checkpoint", "save"), tempfile.TemporaryFile() as file:
        for _ in range(CHECKPOINT_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    print("saved a checkpoint of %d MiB" % (CHECKPOINT_BYTES // MIB), flush=True)


def hold_replay_buffer(run: Any) -> None:
    with run.scope("buffer", "replay"):
        buffer = bytearray(os.urandom(MIB)) * (REPLAY_BYTES // MIB)
        time.sleep(REPLAY_SECONDS)
        del buffer
    print("held a replay buffer of %d MiB" % (REPLAY_BYTES // MIB), flush=True)


def children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ask(run: Any, answers: List[Dict[str, Any]]) -> None:
    """What a program may ask while it runs, to decide what to do next."""
    usage = run.usage("builder:b0", fresh=True)
    answers.append({"path": "builder:b0", "cpu_seconds": usage.cpu_seconds})
    if usage.cpu_seconds is not None:
        print("builder b0 has used %.2f s of CPU so far" % usage.cpu_seconds, flush=True)


def main() -> None:
    clock = Clock()
    answers: List[Dict[str, Any]] = []
    with lm.start_run(experiment="demo", name="nested-workload", tags={"size": "small"}) as run:
        print("run %s" % run.id, flush=True)
        own, children = time.process_time(), children_seconds()
        train(run, clock)
        ask(run, answers)
        load_in_processes(run, clock)
        evaluate_in_threads(run, clock)
        search_in_program(run, clock)
        save_checkpoint(run)
        hold_replay_buffer(run)
        ask(run, answers)
        total = time.process_time() - own + children_seconds() - children
    truth = {
        "run_id": run.id,
        "total_cpu_seconds": total,
        "scope_cpu_seconds": clock.seconds,
        "usage": answers,
        "checkpoint_bytes": CHECKPOINT_BYTES,
        "replay_bytes": REPLAY_BYTES,
    }
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(truth, file)


if __name__ == "__main__":
    main()
