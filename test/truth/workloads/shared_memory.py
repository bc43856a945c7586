"""256 MiB in a parent and four forked workers that are idle: RUN. Says everybody's Pss.

Copy-on-write: the pages are the same ones.
"""

import os
import sys
import time

from common import begin, fork, proportional_bytes, reap, resident, say

SIZE, WORKERS, SECONDS = 256 << 20, 4, 2.0


def idle(wake):
    os.read(wake, 1)


def main():
    run = begin(sys.argv[1])
    held = resident(SIZE, huge=False)
    wake, ours = os.pipe()
    with run.scope("memory", "shared"):
        workers = [fork(lambda: idle(wake)) for _ in range(WORKERS)]
        time.sleep(SECONDS)
        proportional = [proportional_bytes(pid) for pid in ["self", *workers]]
        os.write(ours, b"x" * WORKERS)
        reap(*workers)
    run.end()
    say(size=len(held), sum=sum(proportional))


main()
