"""Real agents, a real MLflow server and random faults: `npm run faults`, `--list` for their kinds.

Every trial is drawn from the seed and its number, so that one that fails can be played again with
`--trial`. Prints a row a trial, or with --json one object a trial and a summary. Exit status 1 when
totals were lost, doubled or wrong, or an agent did not start again; the folder of such a trial
stays.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness.mlflow import Mlflow, NoMlflow  # noqa: E402
from harness.plan import KINDS, draw  # noqa: E402
from harness.result import Result, as_json  # noqa: E402
from harness.shim import NoCompiler, compiled  # noqa: E402
from harness.tmpfs import mountable  # noqa: E402
from harness.trial import carry_out  # noqa: E402


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="npm run faults --", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", default="1", metavar="S", help="default %(default)s")
    parser.add_argument("--trial", metavar="SEED", help="this one only, as a failed row names it")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="these kinds of faults")
    parser.add_argument("--list", action="store_true", help="name the kinds and end")
    parser.add_argument("--plan", action="store_true", help="print what would be done and end")
    parser.add_argument("--json", action="store_true", help="one JSON object a trial")
    parser.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), metavar="N",
        help="trials at a time (default %(default)s); the plan does not depend on it",
    )  # fmt: skip
    return parser.parse_args()


def row(result: Result) -> str:
    verdict = result.verdict
    problems = [
        "%d %s" % (len(what), name)
        for name, what in (
            ("lost", verdict.lost), ("doubled", verdict.doubled),
            ("wrong", verdict.wrong), ("failed", result.failed),
        )
        if what
    ]  # fmt: skip
    faults = ", ".join(map(str, result.trial.faults))
    text = "  %-7s %-10s %5.1f s  %s" % (
        "ok" if result.ok else "FAILED", result.trial.seed, result.seconds, faults,
    )  # fmt: skip
    if result.ok:
        return text
    lines = (verdict.lost + verdict.doubled + verdict.wrong + result.failed)[:6]
    more = "".join("\n          " + line.replace("\n", "\n          ") for line in lines)
    again = "\n          again: npm run faults -- --trial %s; folder %s"
    return text + "  " + ", ".join(problems) + more + again % (result.trial.seed, result.folder)


def summary(results: List[Result], mlflow: Mlflow, seconds: float) -> Dict[str, object]:
    kinds = Counter(fault.kind for result in results for fault in result.trial.faults)
    return {
        "trials": len(results),
        "failed": sum(not result.ok for result in results),
        "lost": sum(len(result.verdict.lost) for result in results),
        "doubled": sum(len(result.verdict.doubled) for result in results),
        "wrong": sum(len(result.verdict.wrong) for result in results),
        "agent_failures": sum(len(result.failed) for result in results),
        "acknowledged_runs": sum(result.acknowledged for result in results),
        "unwritten_documents": sum(result.unwritten for result in results),
        "agent_kills": sum(result.kills for result in results),
        "failed_writes": sum(result.failed_writes for result in results),
        "harmed_requests": sum(result.harmed for result in results),
        "server_restarts": mlflow.restarts,
        "seconds": round(seconds, 1),
        "faults": dict(sorted(kinds.items())),
    }


def main() -> int:
    chosen = options()
    if chosen.list:
        print("\n".join(KINDS))
        return 0
    unknown = sorted(set(chosen.only or ()) - set(KINDS))
    if unknown:
        said = (" ".join(unknown), " ".join(KINDS))
        print("--only %s: expected some of %s" % said, file=sys.stderr)
        return 2
    seeds = ["%s.%d" % (chosen.seed, number) for number in range(chosen.trials)]
    if chosen.trial:
        seeds = [chosen.trial]
    plans = [draw(seed, chosen.only) for seed in seeds]
    if chosen.plan:
        for plan in plans:
            print(plan.seed, *plan.faults, sep="  ")
        return 0
    return carry_out_all(plans, chosen)


def carry_out_all(plans: list, chosen: argparse.Namespace) -> int:
    report = sys.stderr if chosen.json else sys.stdout
    unmountable = mountable()
    if unmountable:
        wanted = [plan for plan in plans if any(fault.kind == "full-disk" for fault in plan.faults)]
        plans = [plan for plan in plans if plan not in wanted]
        print("  skipped full-disk, %d trials: %s" % (len(wanted), unmountable), file=report)
    try:
        compiled()
        mlflow = Mlflow()
    except (NoCompiler, NoMlflow) as error:
        print("faults: %s" % error, file=sys.stderr)
        return 2
    try:
        mlflow.wait_ready()
        mlflow.warm_up()
        started = time.monotonic()
        experiment = mlflow.new_experiment("faults")
        results = []
        pool = ThreadPoolExecutor(chosen.jobs)
        try:
            for result in pool.map(lambda plan: carry_out(plan, mlflow, experiment), plans):
                results.append(result)
                print(json.dumps(as_json(result)) if chosen.json else row(result), flush=True)
        finally:
            pool.shutdown(cancel_futures=True)  # those under way end as they would
        counts = summary(results, mlflow, time.monotonic() - started)
    except NoMlflow as error:
        print("faults: %s" % error, file=sys.stderr)
        return 2
    finally:
        mlflow.close()
    if chosen.json:
        print(json.dumps({"summary": counts}))
    else:
        print("\n" + "\n".join("%-26s %s" % pair for pair in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
