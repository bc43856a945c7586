"""A tracker of LeZeA's shape on a real MLflow, with compat.attach: prints what MLflow then has."""

import json
import os
import sys
import time

import mlflow

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "python", "tests"))

from lezea_tracker import Tracker  # noqa: E402

from lezea_monitor.compat import attach  # noqa: E402


class Backend:
    """As its MLflow backend calls mlflow."""

    def log_metrics(self, metrics, step=None):
        mlflow.log_metrics(metrics, step=step)

    def log_dict(self, payload, artifact_file=None):
        mlflow.log_dict(payload, artifact_file)

    def end_run(self):
        mlflow.end_run()


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def main():
    tracker = Tracker()
    tracker.backends["mlflow"] = Backend()
    run_id = mlflow.start_run().info.run_id
    attach(tracker)
    tracker.start()
    begun = time.process_time()
    with tracker.tasker_scope("tasker#0"):
        burn(0.3)
        tracker.log_training_step(1, {"loss": 1.0})  # which MLflow takes tens of milliseconds for
    used = time.process_time() - begun
    with tracker.network_scope("org/model"), tracker.layer_scope(3):
        burn(0.2)
    tracker.log_component_resources("tasker#0", "tasker", 1.0, 1.0, step=1)
    tracker.end()
    client = mlflow.MlflowClient()
    files = ["resources/summary.json", "environment/full.json", "business/cost_analysis_summary.json"]
    schemas = {file: mlflow.artifacts.load_dict(_uri(client, run_id, file))["schema"] for file in files}
    run = client.get_run(run_id)
    said = {"metrics": run.data.metrics, "schemas": schemas, "status": run.info.status, "used": used}
    print(json.dumps(said))


def _uri(client, run_id, file):
    return client.get_run(run_id).info.artifact_uri + "/" + file


if __name__ == "__main__":
    main()
