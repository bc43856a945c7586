"""Eight busy threads, four forked workers and idle threads: half of the work without the GIL.

Says the run's CPU by the agent and by the cgroup, and each thread's own clock in its scope.
"""

import sys
import threading

from common import Span, begin, burn, burn_native, fork, reap, say, threads

BUSY, WORKERS, IDLE = 8, 4, 8
THREAD_NS, WORKER_NS = 500_000_000, 600_000_000


def busy(run, i):
    work = burn if i % 2 else burn_native
    used = 0
    while used < THREAD_NS:
        with run.scope("thread", i):
            used += work(20_000_000)
    return used


def main():
    run = begin(sys.argv[1])
    done = threading.Event()
    idle = [threading.Thread(target=done.wait) for _ in range(IDLE)]
    for thread in idle:
        thread.start()
    span = Span(run)
    workers = [fork(lambda: burn_native(WORKER_NS)) for _ in range(WORKERS)]
    used = threads(BUSY, lambda i: busy(run, i))
    reap(*workers)
    done.set()
    for thread in idle:
        thread.join()
    said = span.end(run)
    say(threads=[ns / 1e9 for ns in used], running=BUSY + WORKERS, **said)


main()
