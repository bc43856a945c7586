"""Enters a new scope and at once calls native code that keeps the interpreter's lock: RUN.

No other thread of the process can tell the agent what the scope is until that call returns: the
entering thread has to, or the agent holds the process back until it knows.
"""

import sys
import time

from common import begin, say

BLOCK_NS = 2_000_000_000
PROBE = 2_000_000


def main():
    begun = time.thread_time_ns()
    sum(range(PROBE))
    count = PROBE * BLOCK_NS // (time.thread_time_ns() - begun)
    run = begin(sys.argv[1])
    with run.scope("part", "native"):
        begun = time.process_time_ns()  # the client's own thread follows the main thread's scope
        sum(range(count))
        used = time.process_time_ns() - begun
    run.end()
    say(used=used / 1e9)


main()
