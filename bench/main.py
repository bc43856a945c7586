"""What the agent and its clients cost: `npm run bench`, `--list` for the rows.

Every figure is taken in one run with its peers, in turns, for machines are shared: a ratio holds
where an absolute time does not. Prints a table, or with --json one object a figure. Exit status 1
when a budget is not met or a row failed; a peer that is not installed is said to be absent.
"""

import argparse
import importlib
import os
import pkgutil
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "test", "truth")]

import rows  # noqa: E402
from benchlib.figures import Report  # noqa: E402


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="npm run bench --", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these rows")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--json", action="store_true", help="one JSON object a figure")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the time: shows that it works, no figures"
    )
    return parser.parse_args()


def main() -> int:
    chosen = options()
    names = sorted(module.name for module in pkgutil.iter_modules(rows.__path__))
    if chosen.list:
        for name in names:
            about = importlib.import_module("rows." + name).__doc__ or ""
            print("%-16s %s" % (name, about.strip().splitlines()[0]))
        return 0
    unknown = sorted(set(chosen.only or ()) - set(names))
    if unknown:
        print("--only %s: expected some of %s" % (" ".join(unknown), " ".join(names)), file=sys.stderr)
        return 2
    report = Report(sys.stdout, as_json=chosen.json, seconds=0.3 if chosen.quick else 3.0)
    started = time.monotonic()
    for name in chosen.only or names:
        report.begin(name)
        try:
            importlib.import_module("rows." + name).measure(report)
        except Exception as error:  # the other rows still run
            traceback.print_exc()
            report.failed("%s: %s" % (type(error).__name__, error))
    print("%s (%.0f s)" % (report.summary(), time.monotonic() - started), file=sys.stderr)
    if chosen.quick:
        return 1 if report.failures else 0
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
