"""The agent against a real NVIDIA driver: `npm run test:gpu`, `--list` for the cases.

Starts the real agent and holds what it says of the GPUs against nvidia-smi, then prints what its
calls of NVML took as a Markdown table; with --json one object a line. Exit status 1 where something
is past its bound. Without a driver it says why it skipped, in one line, and exits with 0.
"""

import argparse
import importlib
import os
import pkgutil
import sys
from typing import List, Union

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "truth")]

import cases  # noqa: E402
from bench import Bench  # noqa: E402
from harness.agent import AgentFailed  # noqa: E402
from machine import Machine, find_machine  # noqa: E402
from report import Report  # noqa: E402

NAMES = sorted(module.name for module in pkgutil.iter_modules(cases.__path__))


def options(arguments: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="npm run test:gpu --", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, help="these cases")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--seconds", type=int, default=20, metavar="N",
        help="for how long figures are compared (default %(default)s)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def run(machine: Union[Machine, str], arguments: List[str]) -> int:
    """The cases on this machine; a machine that is none is the reason why it is not."""
    chosen = options(arguments)
    if chosen.list:
        print("\n".join(NAMES))
        return 0
    if isinstance(machine, str):
        print("skipped: %s" % machine)
        return 0
    report = Report(as_json=chosen.json)
    try:
        with Bench(machine, report, chosen.seconds) as bench:
            for name in chosen.only or NAMES:
                report.begin(name)
                importlib.import_module("cases." + name).check(bench)
    except AgentFailed as error:
        report.check("the agent", False, str(error))
    return report.end()


if __name__ == "__main__":
    sys.exit(run(find_machine(), sys.argv[1:]))
