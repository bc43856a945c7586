"""LeZeA's ResourceLogger in the agent's place: RUN. Known burns in known parts, by the thread's clock.

`shared` is what was burnt while two parts of this process were started, `alone` while one was;
`child` what a child process has burnt, as a part of its own.
"""

import subprocess
import sys
import time

from common import begin, burn, resident, say

from lezea_monitor.compat import ResourceLogger

CHILD = """
import sys, time
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
begun = time.process_time()
while time.process_time() < begun + 0.4:
    pass
sys.stdout.write("%f\\n" % (time.process_time() - begun))
sys.stdout.flush()
sys.stdin.readline()
"""


def main():
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    run = begin(sys.argv[1])
    held = resident(100_000_000)
    parts = ResourceLogger()
    parts.register_part("worker", child.pid)
    child.stdout.readline()  # what its start takes is of no part
    parts.start("worker")
    parts.start("tasker#0")
    began = time.monotonic()
    alone = burn(300_000_000)
    parts.start("org/model")
    shared = burn(400_000_000)
    with run.builder("b0"):  # a scope of the program's, across an edge of a part
        shared += burn(100_000_000)
        parts.stop("tasker#0")
        other = burn(200_000_000)
    child.stdin.write("\n")
    child.stdin.flush()
    of_child = float(child.stdout.readline())
    samples = {name: dict(sample) for name, sample in parts.sample_all().items()}
    parts.stop("org/model")
    parts.stop("worker")
    burn(100_000_000)  # nobody's
    ended = time.monotonic()
    totals = {name: dict(total) for name, total in parts.get_totals().items()}
    child.stdin.close()
    child.wait()
    del held
    run.end()
    say(alone=alone / 1e9, shared=shared / 1e9, other=other / 1e9, child=of_child, samples=samples,
        totals=totals, seconds=ended - began,
        gpu=[name for name in totals if "gpu_h" in totals[name]])  # fmt: skip


main()
