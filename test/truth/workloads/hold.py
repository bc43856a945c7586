"""A scope that holds 512 MiB for 3 s: RUN. Says its size and when the scope began and ended.

The memory is mapped, all of it touched, held, and unmapped inside the scope.
"""

import mmap
import sys
import time

from common import begin, proportional_bytes, say

SIZE, HOLD_SECONDS = 512 << 20, 3.0
MAP_POPULATE = 0x8000


def main():
    run = begin(sys.argv[1])
    with run.scope("memory", "hold"):
        pass
    time.sleep(0.3)  # the agent knows the scope: mapping keeps the interpreter's lock
    base = proportional_bytes()
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_POPULATE
    say(ready=True)
    with run.scope("memory", "hold"):
        entered = time.monotonic()
        held = mmap.mmap(-1, SIZE, flags=flags)
        time.sleep(HOLD_SECONDS)
        held.close()
        left = time.monotonic()
    time.sleep(0.3)
    run.end()
    say(size=SIZE, base=base, entered=entered, left=left)


main()
