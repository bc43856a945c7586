"""One thread that changes between two scopes every 100 µs, 70 to 30 by CPU: RUN SECONDS.

Where in `with` the client takes its stamp is its own affair: the thread's clock is read inside
and outside, and what the scope used lies between.
"""

import sys
import time

from common import begin, burn, say

clock = time.thread_time_ns


def main():
    run = begin(sys.argv[1])
    end = clock() + int(float(sys.argv[2]) * 1e9)
    inner, outer, stays, now = [0, 0], [0, 0], 0, clock()
    while now < end:
        begun = clock()
        with run.scope("part", "a"):
            inner[0] += burn(140_000)
        between = clock()
        with run.scope("part", "b"):
            inner[1] += burn(60_000)
        now = clock()
        outer[0] += between - begun
        outer[1] += now - between
        stays += 1
    run.end()
    say(inner=[ns / 1e9 for ns in inner], outer=[ns / 1e9 for ns in outer], stays=stays)


main()
