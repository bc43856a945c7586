"""A tracker of LeZeA's shape with compat.attach: RUN. Known burns in its scopes, by the thread's clock."""

import os
import sys
import time

from common import begin, burn, say

from lezea_monitor.compat import attach

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "python", "tests"))

from lezea_tracker import Tracker  # noqa: E402


def main():
    run = begin(sys.argv[1])
    before = time.process_time()
    began = time.monotonic()
    tracker = Tracker()
    attach(tracker, run)
    tracker.start()
    burnt = {}
    with tracker.builder_scope("b0"):
        with tracker.tasker_scope("tasker#0"):
            burnt["tasker"] = burn(300_000_000)
        with tracker.network_scope("org/model"), tracker.layer_scope(3):
            burnt["layer"] = burn(200_000_000)
    tracker.log_component_resources("tasker#0", "tasker", 1.0, 1.0)
    tracker.log_component_resources(3, "layer", 1.0, 1.0)
    seconds = time.monotonic() - began
    tracker.log_resource_cost(1234.0, 5678.0, 9)
    hours = tracker.backends["mlflow"].values("cost/cpu_hours")[0]
    process = time.process_time() - before
    environment = tracker.log_environment_info()
    tracker.end()
    documents = tracker.backends["mlflow"].documents
    summary = documents["resources/summary.json"]
    cpu = {one["path"]: one["self"].get("cpu_seconds") for one in summary["scopes"]}
    run.end()
    say(burnt={name: ns / 1e9 for name, ns in burnt.items()}, seconds=seconds, cpu=cpu,
        percent={kind: cpu for kind, _, cpu, _, _ in tracker.seen}, hours=hours, process=process,
        total=tracker.backends["mlflow"].values("resources/total/cpu_seconds")[0],
        cost=tracker.total_cost, fingerprint=environment["fingerprint"]["stable"])  # fmt: skip


main()
