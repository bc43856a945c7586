"""Phases whose edges fall into work: RUN SECONDS.

Says what this process has used in each stretch between two phases, by its own clock, in order. A
scope is entered before the first edge and left after the last, others lie inside. In `held` the
native code that follows the edge keeps the interpreter's lock: nobody else of the process runs.
"""

import sys
import time

from common import begin, burn, burn_native, say

PHASES = ("load", "train", "eval", "train", "held", "save")


def hold_the_lock(cpu_ns):
    """Native code that keeps the interpreter's lock for tenths of a second."""
    begun = time.thread_time_ns()
    while time.thread_time_ns() - begun < cpu_ns:
        sum(range(10_000_000))


def main():
    run = begin(sys.argv[1])
    share_ns = int(float(sys.argv[2]) * 1e9 / len(PHASES))
    clocks = []
    with run.scope("part", "whole"):
        burn(share_ns // 2)
        for at, name in enumerate(PHASES):
            with run.scope("part", "step%d" % at):
                burn(share_ns // 4)
                clocks.append(time.process_time())
                run.phase(name)
                if name == "held":
                    hold_the_lock(share_ns)
                else:
                    burn_native(share_ns // 2)
            burn(share_ns // 4 * (1 + at))
    clocks.append(time.process_time())
    run.end()
    used = [after - before for before, after in zip(clocks, clocks[1:])]
    say(used=used, names=PHASES)


main()
