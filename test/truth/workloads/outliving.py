"""A worker that outlives the process that opened the run: RUN.

The opener forks it and is gone, without an end; the worker has a session of its own by then. The
worker's scope gets `before` seconds of CPU while the opener lives, `after` when it is gone.
"""

import os
import sys
import time

from common import begin, burn_native, say

BEFORE_NS, AFTER_NS = 300_000_000, 900_000_000


def worker(run, opener):
    with run.scope("worker", "w"):
        time.sleep(0.5)  # a forked worker's session opens with its first record
        before = burn_native(BEFORE_NS)
        while os.getppid() == opener:
            time.sleep(0.01)
        after = burn_native(AFTER_NS)
    status = run.usage(fresh=True).status
    run.end()
    say(before=before / 1e9, after=after / 1e9, status=status)


def main():
    run = begin(sys.argv[1])
    opener = os.getpid()
    if os.fork() == 0:
        worker(run, opener)
        return
    time.sleep(1.5)
    sys.stdout.flush()
    os._exit(0)


main()
