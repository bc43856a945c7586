"""Compares the running agent with independent sources: `npm run truth`, `--list` for the cases.

Starts the real agent and real workloads, and holds what the agent says against the kernel's and
the workloads' own accounts. Prints a table, or with --json one object a comparison. Exit status 1
when a figure is past its bound, or a case failed. CPU clocks are the truth, never wall time, so a
busy machine makes it slower and not wrong.
"""

import argparse
import contextlib
import importlib
import os
import pkgutil
import subprocess
import sys
import time
import traceback
from typing import Iterator

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cases  # noqa: E402
from harness.agent import AgentFailed, Refused, sample_every  # noqa: E402
from harness.registry import CASES, Skip  # noqa: E402
from harness.table import Row, Table  # noqa: E402
from harness.truth import SharedAgent, Truth  # noqa: E402
from harness.user import run_as  # noqa: E402
from harness.workload import WorkloadFailed  # noqa: E402

NOBODY = 65534


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="npm run truth --", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these cases (a beginning will do)"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    parser.add_argument(
        "--user", nargs="?", type=int, const=NOBODY, metavar="UID",
        help="as root: run all of it as this user instead (default %d)" % NOBODY,
    )  # fmt: skip
    parser.add_argument(
        "--interval-ms", type=int, default=100, metavar="N",
        help="let the agents sample so often (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--busy", action="store_true", help="keep another core busy, as other jobs would"
    )
    return parser.parse_args()


def load_cases() -> None:
    for module in pkgutil.iter_modules(cases.__path__):
        importlib.import_module("cases." + module.name)


def run_case(name: str, table: Table, shared: SharedAgent) -> None:
    """A case that raises is a failed row: the others still run."""
    try:
        with Truth(name, table, shared) as truth:
            CASES[name](truth)
    except Skip as reason:
        table.add(Row(name, "the case", "", skipped=str(reason)))
    except Exception as error:
        if not isinstance(error, (AgentFailed, Refused, WorkloadFailed)):
            traceback.print_exc()
        why = "%s: %s" % (type(error).__name__, error)
        table.add(Row(name, "the case", "", ok=False, failed=why))
    wrong = shared.check()
    if wrong:
        table.add(Row(name, "the agent's log", "", ok=False, failed=wrong))


def main() -> int:
    chosen = options()
    load_cases()
    if chosen.list:
        for name, function in CASES.items():
            print("%-24s %s" % (name, (function.__doc__ or "").strip().splitlines()[0]))
        return 0
    if chosen.user is not None:
        if os.geteuid() != 0:
            print("--user: only root can run it as another user", file=sys.stderr)
            return 2
        names = ["--only", *chosen.only] if chosen.only else []
        flags = ["--json"] if chosen.json else []
        flags += ["--interval-ms", str(chosen.interval_ms)] + ["--busy"] * chosen.busy
        return run_as(chosen.user, [os.path.abspath(__file__), *flags, *names])
    wanted = tuple(chosen.only or ("",))
    names = [name for name in CASES if name.startswith(wanted)]
    if not names:
        print("--only %s: no such case" % " ".join(wanted), file=sys.stderr)
        return 2
    sample_every(chosen.interval_ms)
    with other_job() if chosen.busy else contextlib.nullcontext():
        return run(names, Table(None if chosen.json else sys.stdout), chosen.json)


@contextlib.contextmanager
def other_job() -> Iterator[None]:
    """One process that never sleeps, of no run."""
    job = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        job.kill()
        job.wait()


def run(names: "list[str]", table: Table, as_json: bool) -> int:
    started = time.monotonic()
    shared = SharedAgent()
    with shared.lent():
        for name in names:
            run_case(name, table, shared)
    if as_json:
        table.write_json()
    summary = "%s (uid %d, %.0f s)" % (table.counts(), os.geteuid(), time.monotonic() - started)
    print(("" if as_json else "\n") + summary, file=sys.stderr if as_json else sys.stdout)
    return 0 if table.ok else 1


if __name__ == "__main__":
    sys.exit(main())
