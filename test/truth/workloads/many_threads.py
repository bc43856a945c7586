"""250 busy threads, each announcing a scope of its own again and again: RUN.

Says per thread its own clock's CPU, read inside and outside of the scope, and how often it was
entered: where in `with` the client takes its stamp is its own affair.
"""

import sys
import time

from common import begin, burn_native, say, threads

THREADS, STAYS, STAY_NS = 250, 25, 1_000_000


def main():
    run = begin(sys.argv[1])

    def body(i):
        inner = outer = 0
        for _ in range(STAYS):
            begun = time.thread_time_ns()
            with run.scope("thread", i):
                inner += burn_native(STAY_NS)
            outer += time.thread_time_ns() - begun
        return inner / 1e9, outer / 1e9

    used = threads(THREADS, body)
    dropped = run.dropped
    run.end()
    say(used=used, stays=STAYS, dropped=dropped)


main()
