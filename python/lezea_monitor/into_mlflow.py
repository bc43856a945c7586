"""Writes what the agent has cut a run into to MLflow, through the mlflow of this process.

Reads items (kind and JSON body) and documents; emits metrics, tags and artifacts of one MLflow
run. Sent again, an item changes nothing. Nobody else's artifact is overwritten: ours then goes to
lezea-monitor/<path>, and a tag names it. mlflow is taken from sys.modules and never imported.
"""

import hashlib
import json
import os
import posixpath
import tempfile
from typing import Any, Callable, Dict, List, Sequence

from .tracker import imported

OURS = "lezea-monitor"  # folder of the documents whose own place is taken
# What mlflow says of an item that it will never take.
FINAL_CODES = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
# fetch(path, bytes, sha256, file): brings a document into a file.
Fetch = Callable[[str, int, str, str], None]


class Refused(Exception):
    """This item can never be delivered."""


class NotNow(Exception):
    """Nothing is wrong with the item, but it cannot be delivered as things are."""


class IntoMlflow:
    """One run at MLflow. Whatever its methods raise but Refused may go well later."""

    def __init__(self, address: str, run_id: str) -> None:
        self._entities = imported("mlflow.entities")
        self._client = imported("mlflow.tracking").MlflowClient(tracking_uri=address)
        self._run_id = run_id
        # Items come in order, and each is acknowledged before the next: only the first may have
        # been logged before, or, from an imported bundle, the first few.
        self._perhaps_there = True
        self._check()

    def log(self, kind: str, body: Dict[str, Any], fetch: Fetch) -> None:
        """Brings one item there."""
        if kind == "metrics":
            self._log_metrics(body["metrics"])
        elif kind == "artifact":
            self._log_artifact(body["path"], body["bytes"], body["sha256"], fetch)
        elif kind == "tags":
            self._log_tags(body["tags"])
        elif kind == "end":
            self._end(body["status"], body["end_time"])
        else:
            raise NotNow("items of kind %s need a newer lezea_monitor" % kind)

    def _check(self) -> Any:
        """The run as it is. Raises NotNow when it takes nothing."""
        run = self._client.get_run(self._run_id)
        if run.info.lifecycle_stage != "active":
            raise NotNow("MLflow run %s is deleted" % self._run_id)
        return run

    # Metrics, tags, status

    def _log_metrics(self, wanted: Sequence[Dict[str, Any]]) -> None:
        make = self._entities.Metric
        metrics = [
            make(m["key"], float(m["value"]), int(m["timestamp"]), int(m["step"])) for m in wanted
        ]
        if self._perhaps_there and metrics:
            # A file store does not notice repetitions. It writes in order.
            if self._is_there(metrics[0]):
                metrics = [metric for metric in metrics if not self._is_there(metric)]
            else:
                self._perhaps_there = False
        self._log_batch("metrics", metrics)

    def _is_there(self, metric: Any) -> bool:
        history = self._client.get_metric_history(self._run_id, metric.key)
        point = (metric.timestamp, metric.step, metric.value)
        return any((old.timestamp, old.step, old.value) == point for old in history)

    def _log_tags(self, wanted: Sequence[Dict[str, str]]) -> None:
        make = self._entities.RunTag
        self._log_batch("tags", [make(tag["key"], tag["value"]) for tag in wanted])

    def _log_batch(self, what: str, values: List[Any]) -> None:
        """Logs all at once; where mlflow refuses that for good, each that it takes."""
        if not values:
            return
        try:
            self._client.log_batch(self._run_id, synchronous=True, **{what: values})
        except Exception as error:
            if getattr(error, "error_code", None) not in FINAL_CODES:
                raise
            self._check()  # a deleted run is refused with the same word
            if len(values) == 1:
                raise Refused("%s: %s" % (values[0].key, error)) from error
            self._log_each(what, values)

    def _log_each(self, what: str, values: List[Any]) -> None:
        refused = []
        for value in values:
            try:
                self._log_batch(what, [value])
            except Refused as error:
                refused.append(str(error))
        if refused:
            text = "%d of %d %s refused: %s"
            raise Refused(text % (len(refused), len(values), what, refused[0]))

    def _end(self, status: str, end_time: int) -> None:
        if self._check().info.status == "RUNNING":
            self._client.set_terminated(self._run_id, status, int(end_time))

    # Documents

    def _log_artifact(self, path: str, size: int, sha256: str, fetch: Fetch) -> None:
        with tempfile.TemporaryDirectory(prefix="lezea-monitor-") as folder:
            file = os.path.join(folder, posixpath.basename(path))
            fetch(path, size, sha256, file)
            there = self._holds(path, size, sha256)
            if there == "ours":
                return
            # While the run goes on, the program may log a document of that name yet.
            running = self._check().info.status in ("RUNNING", "SCHEDULED")
            if there == "nothing" and not running:
                self._upload(file, path)
                return
            aside = posixpath.join(OURS, path)
            if self._holds(aside, size, sha256) != "ours":
                self._upload(file, aside)
            self._log_tags([{"key": "lezea_monitor.artifact." + path, "value": aside}])

    def _upload(self, file: str, path: str) -> None:
        self._client.log_artifact(self._run_id, file, posixpath.dirname(path) or None)

    def _holds(self, path: str, size: int, sha256: str) -> str:
        """What is at `path`: `nothing`, `ours`, byte for byte, or `other`."""
        files = self._client.list_artifacts(self._run_id, posixpath.dirname(path) or None)
        found = [file for file in files if file.path == path]
        if not found:
            return "nothing"
        if found[0].is_dir or found[0].file_size not in (None, size):
            return "other"
        with tempfile.TemporaryDirectory(prefix="lezea-monitor-") as folder:
            copy = self._client.download_artifacts(self._run_id, path, folder)
            return "ours" if hash_of(copy) == sha256 else "other"


def hash_of(file: str) -> str:
    """SHA-256 of a file, lower-case hexadecimal."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def parse(body: Any) -> Dict[str, Any]:
    """An item's JSON text. Raises Refused for what is none."""
    try:
        read = json.loads(body) if isinstance(body, str) else body
    except ValueError as error:
        raise Refused("not JSON: %s" % error) from error
    if not isinstance(read, dict):
        raise Refused("not a JSON object")
    return read
