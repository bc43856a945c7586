"""Runs the client's tests twice, in Python only and with the accelerator: `python3 both_ways.py`.

Both at the same time, for they wait more than they work; what the second says comes after the first.
Says which way each run went. Where the accelerator was not built the second run is one test, which
skips and says so. Exit status 1 when either run fails.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from typing import IO

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGE = os.path.join(ROOT, "python")
SAY = "import lezea_monitor as lm; print('ACCELERATED = %s' % lm.ACCELERATED, flush=True)"
ALL = ["discover", "-v", "-s", "python/tests", "-t", "python"]
ONE = ["-v", "tests.test_accelerator.LoadedTest"]


def start_tests(title: str, pure: str, arguments: list, output: IO[bytes]) -> subprocess.Popen:
    """`pure`: the value of LEZEA_MONITOR_PURE."""
    paths = [PACKAGE, os.environ.get("PYTHONPATH", "")]
    env = dict(os.environ, LEZEA_MONITOR_PURE=pure, PYTHONPATH=os.pathsep.join(filter(None, paths)))
    version = sys.version.split()[0]
    output.write(b"=== Python %s, %s: " % (version.encode(), title.encode()))
    output.flush()
    subprocess.run([sys.executable, "-c", SAY], check=True, cwd=ROOT, env=env, stdout=output)
    command = [sys.executable, "-m", "unittest", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)


def main() -> int:
    built = os.path.exists(os.path.join(PACKAGE, "lezea_monitor", "_accel.abi3.so"))
    with tempfile.TemporaryFile() as later:
        with_accelerator = start_tests("with the accelerator", "", ALL if built else ONE, later)
        in_python = start_tests("in Python only", "1", ALL, sys.stdout.buffer)
        passed = [run.wait() == 0 for run in (in_python, with_accelerator)]
        later.seek(0)
        shutil.copyfileobj(later, sys.stdout.buffer)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
