"""Two processes of one run with a part of one name each: RUN. What each says of its own, and burnt."""

import json
import subprocess
import sys

from common import begin, burn, say

from lezea_monitor.compat import ResourceLogger


def measured(run, cpu_ns):
    parts = ResourceLogger(run)
    parts.start("worker")
    burnt = burn(cpu_ns)
    parts.stop("worker")
    return {"burnt": burnt / 1e9, "part": parts.get_totals()["worker"]["cpu_h"] * 3600}


def main():
    run = begin(sys.argv[1])
    if len(sys.argv) > 2:
        say(**measured(run, 200_000_000))
    else:
        command = [sys.executable, __file__, sys.argv[1], "second"]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        first = measured(run, 400_000_000)
        second = json.loads(other.communicate()[0].splitlines()[-1])
        run.end()
        say(first=first, second=second)


main()
