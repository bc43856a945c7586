"""A training that lives on while there is no agent, and ends before there is one again: RUN.

Says that it has begun, waits for a line, then works in both scopes and in a child, and exits with status 3. Per scope
the CPU by its thread's own clock, inside and outside of it; the child's by what its parent was told.
"""

import os
import resource
import sys
import time

from common import begin, burn, fork, say

AMOUNT_NS = 700_000_000


def reaped() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    run = begin(sys.argv[1])
    used = {}
    with run.network("policy"):
        with run.layer("fc2"):
            pass  # the agent must have heard its name
        begun = time.thread_time_ns()
        with run.layer("fc1"):
            burn(AMOUNT_NS)
            say(begun=True)
            sys.stdin.readline()
            inner = burn(AMOUNT_NS)
        used["network:policy/layer:fc1"] = AMOUNT_NS + inner, time.thread_time_ns() - begun
        begun = time.thread_time_ns()
        with run.layer("fc2"):
            before = reaped()
            os.waitpid(fork(lambda: burn(AMOUNT_NS)), 0)
            child = (reaped() - before) * 1e9
            inner = child + burn(AMOUNT_NS)
        used["network:policy/layer:fc2"] = inner, child + time.thread_time_ns() - begun
    say(used={path: [ns / 1e9 for ns in pair] for path, pair in used.items()})
    os._exit(3)


main()
