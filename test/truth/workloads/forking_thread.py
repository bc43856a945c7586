"""Forks from a thread that is in another scope than the main thread: RUN.

One child never says anything, one enters a scope of its own, one runs another program.
"""

import os
import subprocess
import sys
import threading
import time

from common import begin, burn_native, fork, reap, say

CHILD_NS = 500_000_000
PROGRAM = (
    "import time\nwhile time.process_time_ns() < %d: pass\nprint(time.process_time())" % CHILD_NS
)


def main():
    run = begin(sys.argv[1])
    used = {}
    ours, theirs = os.pipe()

    def silent():
        burn_native(CHILD_NS)
        os.write(theirs, b"%d\n" % time.process_time_ns())

    def announcing():
        with run.scope("part", "inner"):
            begun = time.process_time_ns()
            time.sleep(0.5)  # a forked child's session opens with its first record, by another thread
            burn_native(CHILD_NS)
            inner = time.process_time_ns() - begun
        run.end()
        os.write(theirs, b"%d %d\n" % (time.process_time_ns(), inner))

    def forking():
        with run.scope("thread", "second"):
            time.sleep(0.3)
            for name, body in (("silent", silent), ("announcing", announcing)):
                reap(fork(body))
                said = [int(ns) / 1e9 for ns in os.read(ours, 100).split()]
                used[name] = said[0]
            used["inner"] = said[1]
            done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
            used["program"] = float(done.stdout)

    with run.scope("thread", "main"):
        thread = threading.Thread(target=forking)
        thread.start()
        thread.join()
    run.end()
    say(**used)


main()
