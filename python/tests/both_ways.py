"""Runs the client's tests twice, in Python only and with the accelerator: `python3 both_ways.py`.

Says which way each run went. Where the accelerator was not built the second run is one test, which
skips and says so. Exit status 1 when either run fails.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGE = os.path.join(ROOT, "python")
SAY = "import lezea_monitor as lm; print('ACCELERATED = %s' % lm.ACCELERATED, flush=True)"
ALL = ["discover", "-v", "-s", "python/tests", "-t", "python"]
ONE = ["-v", "tests.test_accelerator.LoadedTest"]


def run_tests(title: str, pure: str, arguments: list) -> bool:
    """Whether they passed. `pure`: the value of LEZEA_MONITOR_PURE."""
    paths = [PACKAGE, os.environ.get("PYTHONPATH", "")]
    env = dict(os.environ, LEZEA_MONITOR_PURE=pure, PYTHONPATH=os.pathsep.join(filter(None, paths)))
    version = sys.version.split()[0]
    print("=== Python %s, %s: " % (version, title), end="", flush=True)
    subprocess.run([sys.executable, "-c", SAY], check=True, cwd=ROOT, env=env)
    command = [sys.executable, "-m", "unittest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == 0


def main() -> int:
    built = os.path.exists(os.path.join(PACKAGE, "lezea_monitor", "_accel.abi3.so"))
    passed = run_tests("in Python only", "1", ALL)
    passed = run_tests("with the accelerator", "", ALL if built else ONE) and passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
