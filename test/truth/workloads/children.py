"""A thousand children of about 2 ms, one after the other: arguments RUN, resident MiB, ignore 0|1.

The parent is in one scope all the time. Says the run's CPU by the agent and by the cgroup, and
what of it is the parent's own.
"""

import os
import signal
import sys
import time

from common import Span, begin, fork, resident, say

COUNT, CHILD_NS = 1000, 2_000_000


def child():
    while time.process_time_ns() < CHILD_NS:
        pass


def run_children(ignored):
    for _ in range(COUNT):
        if not ignored:
            os.waitpid(fork(child), 0)
            continue
        # Nobody can wait for it: the pipe's end tells that it is gone, or nearly.
        ours, theirs = os.pipe()
        fork(child)
        os.close(theirs)
        os.read(ours, 1)
        os.close(ours)


def main():
    run_id, mib, ignored = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
    run = begin(run_id)
    if ignored:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    held = resident(max(1, mib) << 20, huge=False)
    with run.scope("phase", "children"):
        span = Span(run)
        run_children(ignored)
    said = span.end(run)
    say(resident=len(held), **said)


main()
