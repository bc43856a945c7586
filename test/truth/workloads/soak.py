"""Many training processes by the real client: they announce scopes, fork, end runs, begin the next.

`python3 soak.py SOCKET SESSIONS EVENTS_PER_SECOND SECONDS SEED`; prints a JSON line for every run
that ended: {run_id, cpu_seconds: [least, most], workers_seconds}, what the kernel's own clocks say of its
process and the workers it forked: within start_run and end, and with them; and of the workers alone.
"""

import json
import os
import random
import sys
import time

os.environ["LEZEA_MONITOR_SOCKET"] = sys.argv[1]
import lezea_monitor as lm  # noqa: E402

SESSIONS, EVENTS, SECONDS, SEED = (int(word) for word in sys.argv[2:6])
PERIOD_SECONDS = 0.5
PASS_EVENTS = 4  # into a tasker and a layer, and out again
SHORTEST, LONGEST = 0.1, 0.5  # of a run, as shares of the whole time
FORKS_PER_SECOND = 0.05


def workers_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def cpu_seconds() -> float:
    return time.process_time() + workers_seconds()


def work(rng: random.Random) -> None:
    sum(range(rng.randrange(300)))


def announce(run: "lm.Run", rng: random.Random, passes: int) -> None:
    for _ in range(passes):
        with run.tasker("t%d" % rng.randrange(4)), run.layer("l%d" % rng.randrange(8)):
            work(rng)


def fork(run: "lm.Run", rng: random.Random) -> None:
    """A worker as a data loader's: it announces its own scope and goes."""
    child = os.fork()
    if child == 0:
        with run.scope("worker", "w"):
            sum(range(50_000))
        os._exit(0)
    os.waitpid(child, 0)


def one_run(name: str, rng: random.Random, until: float) -> None:
    passes = max(1, round(EVENTS / SESSIONS * PERIOD_SECONDS / PASS_EVENTS))
    first = cpu_seconds()
    run = lm.start_run(run_id=name, experiment="soak")
    known = run.active  # not where it began while there was no agent
    begun, workers = cpu_seconds(), workers_seconds()
    ends = min(until, time.monotonic() + SECONDS * rng.uniform(SHORTEST, LONGEST))
    while time.monotonic() < ends:
        announce(run, rng, passes)
        if rng.random() < FORKS_PER_SECOND * PERIOD_SECONDS:
            fork(run, rng)
        time.sleep(PERIOD_SECONDS * rng.uniform(0.8, 1.2))
    least = cpu_seconds() - begun
    run.end()
    used = [least, cpu_seconds() - first]
    if not known:
        return
    # In one write: others write there too.
    line = {"run_id": name, "cpu_seconds": used, "workers_seconds": workers_seconds() - workers}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def session(number: int, until: float) -> None:
    rng = random.Random("%d %d" % (SEED, number))
    time.sleep(rng.uniform(0, 5))  # not all at once
    generation = 0
    while time.monotonic() < until:
        generation += 1
        one_run("soak-%d-%d" % (number, generation), rng, until)


def main() -> None:
    until = time.monotonic() + SECONDS
    children = []
    for number in range(SESSIONS):
        child = os.fork()
        if child == 0:
            session(number, until)
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
