"""Ten seconds of threads in scopes and of children that come and go: RUN SECONDS.

Says once that it has begun. At the end, per scope, the CPU by the threads' own clocks, read inside
and outside of it. The scope kids has the children, by what their reaper was told, and all of the
process that is in no other scope: the main thread is in it.
"""

import os
import resource
import sys
import threading
import time

from common import Span, begin, burn, burn_native, fork, say

CHILD_NS, CHILD_PAUSE_SECONDS = 20_000_000, 0.08
STAY_NS, STAY_PAUSE_SECONDS = 3_000_000, 0.007


def stays(run, name, work, end, used):
    inner = outer = 0
    while time.monotonic() < end:
        begun = time.thread_time_ns()
        with run.scope("thread", name):
            inner += work(STAY_NS)
        outer += time.thread_time_ns() - begun
        time.sleep(STAY_PAUSE_SECONDS)
    used["thread:" + name] = [inner / 1e9, outer / 1e9]


def children(end):
    """Reaped at once; some live longer than the agent is gone for."""
    count, slow = 0, []
    while time.monotonic() < end:
        if count % 20 == 0:
            slow.append(fork(lambda: (burn(CHILD_NS), time.sleep(4))))
        os.waitpid(fork(lambda: burn(CHILD_NS)), 0)
        time.sleep(CHILD_PAUSE_SECONDS)
        count += 1
    for pid in slow:
        os.waitpid(pid, 0)
    return count + len(slow)


def reaped():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    run = begin(sys.argv[1])
    span = Span(run)
    used = {}
    with run.scope("part", "kids"):
        before, own = reaped(), time.process_time()
        end = time.monotonic() + float(sys.argv[2])
        threads = [
            threading.Thread(target=stays, args=(run, name, work, end, used))
            for name, work in (("python", burn), ("native", burn_native))
        ]
        for thread in threads:
            thread.start()
        say(begun=True)
        count = children(end)
        for thread in threads:
            thread.join()
        whole = reaped() - before + time.process_time() - own
    rest = [sum(pair[edge] for pair in used.values()) for edge in (1, 0)]
    used["part:kids"] = [whole - outer_or_inner for outer_or_inner in rest]
    said = span.end(run)
    say(used=used, children=count, **said)


main()
