"""Logs a training program's own params; then, if there are any, items as the client delivers them.

Standard input: {address, run, own, items: [[kind, body], …]}.
"""

import json
import sys

import mlflow
import mlflow.entities
import mlflow.tracking

from lezea_monitor.into_mlflow import IntoMlflow

given = json.load(sys.stdin)
mlflow.set_tracking_uri(given["address"])
with mlflow.start_run(run_id=given["run"]):
    mlflow.log_params(given["own"])
place = IntoMlflow(given["address"], {"mlflow_run_id": given["run"]}, "k0")
for kind, body in given["items"]:
    place.log(kind, body, None)
