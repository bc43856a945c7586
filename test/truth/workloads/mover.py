"""Uses CPU, binds itself to another run, uses more: RUN.

Started in another run already, by its parent. Says its own clock just before it asks to be moved,
just after, and at the end; of the scope it is in from then on the thread's clock inside and the
process's outside (its other threads are in it, too).
"""

import sys
import time

from common import begin, burn_native, say

BEFORE_NS, AFTER_NS = 600_000_000, 900_000_000


def main():
    burn_native(BEFORE_NS)
    asked = time.process_time()
    run = begin(sys.argv[1])
    moved = time.process_time()
    with run.scope("part", "after"):
        inner = burn_native(AFTER_NS) / 1e9
    ended = time.process_time()
    run.end()
    say(asked=asked, moved=moved, ended=ended, inner=inner)


main()
