"""256 MiB in a parent while a vfork child hangs before its exec for 2 s: RUN.

posix_spawn's child shares the parent's address space until it has exec'd; what holds it up is the
opening of a FIFO, one of its file actions. All of this process waits with it.
"""

import os
import subprocess
import sys
import tempfile
import time

from common import begin, proportional_bytes, resident, say

SIZE, SECONDS = 256 << 20, 2.0
OPENER = "import sys, time; time.sleep(float(sys.argv[2])); open(sys.argv[1], 'w').close()"


# The largest resident set among the children of argv[1], after argv[2] seconds.
WITNESS = """
import json, os, sys, time
time.sleep(float(sys.argv[2]))
most = 0
for pid in os.listdir('/proc'):
    if not pid.isdigit():
        continue
    try:
        with open('/proc/%s/stat' % pid) as file:
            parent = int(file.read().rpartition(')')[2].split()[1])
        with open('/proc/%s/statm' % pid) as file:
            resident = int(file.read().split()[1]) * os.sysconf('SC_PAGESIZE')
    except OSError:
        continue
    if parent == int(sys.argv[1]):
        most = max(most, resident)
print(most)
"""


def main():
    run = begin(sys.argv[1])
    held = resident(SIZE)
    with tempfile.TemporaryDirectory(prefix="lezea-truth-") as folder:
        fifo = os.path.join(folder, "fifo")
        os.mkfifo(fifo)
        python = sys.executable
        opener = subprocess.Popen([python, "-c", OPENER, fifo, str(SECONDS)])
        witness = subprocess.Popen(
            [python, "-c", WITNESS, str(os.getpid()), str(SECONDS / 2)], stdout=subprocess.PIPE
        )
        with run.scope("memory", "vfork"):
            time.sleep(0.5)  # its definition reaches the agent: from here on nobody here can speak
            begun = time.monotonic()
            pid = os.posix_spawn(
                "/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, fifo, 0, 0)]
            )
            waited = time.monotonic() - begun
        base = proportional_bytes()
        os.waitpid(pid, 0)
        opener.wait()
        seen = int(witness.communicate()[0])
    run.end()
    say(size=len(held), alone=base, waited=waited, child_rss=seen)


main()
