"""Replaces itself by another program inside a scope: RUN; --after CPU-SECONDS is that program.

The process stays the same, so does its clock; what it announced is void, and its scope at the exec
is what it was born in.
"""

import os
import sys
import time

from common import begin, burn_native, say

BEFORE_NS, AFTER_NS = 400_000_000, 800_000_000


def main():
    if sys.argv[1] == "--after":
        burn_native(AFTER_NS)
        say(used=time.process_time() - float(sys.argv[2]), after=AFTER_NS / 1e9)
        sys.stdout.flush()
        os._exit(0)  # the interpreter's own tidying up would not be in what was just said
    run = begin(sys.argv[1])
    with run.scope("part", "outer"), run.scope("part", "exec"):
        begun = time.process_time()
        burn_native(BEFORE_NS)
        os.execv(sys.executable, [sys.executable, __file__, "--after", repr(begun)])


main()
