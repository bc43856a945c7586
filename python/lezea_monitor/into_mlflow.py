"""Writes what the agent has cut a run into to MLflow, through the mlflow of this process.

Reads items (kind and JSON body) and documents; emits metrics, tags and artifacts of one MLflow
run. Sent again, an item changes nothing. mlflow is taken from sys.modules and never imported.
"""

import json
import os
import posixpath
import re
import tempfile
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import metric_keys
from .mlflow_artifacts import Artifacts, Document
from .node_merge import SUMMARY, NodeMerge, summary_in
from .node_summary import Json
from .tracker import RUN, imported
from .tracker_address import clean_address

OURS = "lezea-monitor"  # folder of the documents whose own place is taken
CREATED_TAG = "lezea_monitor.created_for"  # on a run that was made for one of the agent's
PARAM_TAG = "lezea_monitor.param."  # before a param's key: what it would have been
MAX_KEYS = 100  # of one batch: stores refuse more of them where they come again (mlflow#20807)
MAX_METRICS = 1000  # of one batch, for any store
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
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

    def __init__(
        self, address: str, settings: Dict[str, Any], key: str, own_run: str = ""
    ) -> None:
        """`key` is the agent's own name of its run, which no other has; `own_run` the run's id."""
        self._entities = imported("mlflow.entities")
        self._client = imported("mlflow.tracking").MlflowClient(tracking_uri=address)
        self._settings = settings
        self.most_metrics = _most_metrics(address)  # that go together
        self._key = key
        self._own_run = own_run
        # Items come in order, and each is acknowledged before the next: only the first may have
        # been logged before, or, from an imported bundle, the first few.
        self._perhaps_there = True
        self._run_id = str(settings.get(RUN) or "")
        self._is_made = not self._run_id
        if self._run_id:
            self._check()
        elif settings.get("mlflow_create") != "true":
            raise NotNow("the run's tracker settings name no MLflow run")

    def log(self, kind: str, body: Dict[str, Any], fetch: Fetch) -> None:
        """Brings one item there."""
        if not self._run_id:
            self._run_id = self._made(body if kind == "create" else None)
        if kind == "metrics":
            self._log_metrics(body["metrics"])
        elif kind == "params":
            self._log_params(body["params"])
        elif kind == "artifact":
            self._log_artifact(body, fetch)
        elif kind == "merge":
            self._merge(body, fetch)
        elif kind == "tags":
            if not self._tells_of_all(body["tags"]):
                self._log_tags(body["tags"])
        elif kind == "end":
            self._end(body["status"], body["end_time"])
        elif kind != "create":
            raise NotNow("items of kind %s need a newer lezea_monitor" % kind)

    def log_together(self, bodies: Sequence[Dict[str, Any]]) -> bool:
        """Figures of several items in one batch; False: some of them will never be taken."""
        if not self._run_id:
            self._run_id = self._made(None)
        try:
            self._log_metrics([one for body in bodies for one in body["metrics"]], cut=False)
            return True
        except Refused:
            self._perhaps_there = True
            return False

    def _check(self) -> Any:
        """The run as it is. Raises NotNow when it takes nothing."""
        run = self._client.get_run(self._run_id)
        if run.info.lifecycle_stage != "active":
            raise NotNow("MLflow run %s is deleted" % self._run_id)
        return run

    def _made(self, body: Optional[Dict[str, Any]]) -> str:
        """Id of the run that was made for this one: found by its tag, else made now."""
        name = self._settings.get("mlflow_experiment") or "Default"
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            text = "tags.`%s` = '%s'" % (CREATED_TAG, self._key)
            found = self._client.search_runs([experiment.experiment_id], text, max_results=1)
            if found:
                return str(found[0].info.run_id)
        if body is None:
            raise NotNow("the MLflow run that was made for it is gone")
        place = experiment.experiment_id if experiment else self._client.create_experiment(name)
        tags = {CREATED_TAG: self._key}
        made = self._client.create_run(place, body["start_time"], tags, body["run_name"])
        return str(made.info.run_id)

    # Metrics, tags, status

    def _log_metrics(self, wanted: Sequence[Dict[str, Any]], cut: bool = True) -> None:
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
        self._log_batch("metrics", metrics, cut)

    def _is_there(self, metric: Any) -> bool:
        history = self._client.get_metric_history(self._run_id, metric.key)
        point = (metric.timestamp, metric.step, metric.value)
        return any((old.timestamp, old.step, old.value) == point for old in history)

    def _log_tags(self, wanted: Sequence[Dict[str, str]]) -> None:
        make = self._entities.RunTag
        self._log_batch("tags", [make(tag["key"], tag["value"]) for tag in wanted])

    def _log_params(self, wanted: Sequence[Dict[str, str]]) -> None:
        """A param is there for ever: where one of another value is, it stays, a tag has ours."""
        refused = self._refused_params([(param["key"], param["value"]) for param in wanted])
        self._log_tags([{"key": PARAM_TAG + key, "value": value} for key, value in refused])

    def _refused_params(self, wanted: Sequence[Tuple[str, str]]) -> List[Tuple[str, str]]:
        """Those that mlflow does not take: of several, perhaps one alone is in the way."""
        make = self._entities.Param
        try:
            self._log_batch("params", [make(key, value) for key, value in wanted], cut=False)
            return []
        except Refused:
            if len(wanted) == 1:
                return list(wanted)
        return [one for param in wanted for one in self._refused_params([param])]

    def _log_batch(self, what: str, values: List[Any], cut: bool = True) -> None:
        """Logs all at once; where mlflow refuses that for good, each that it takes, if `cut`."""
        if not values:
            return
        try:
            self._client.log_batch(self._run_id, synchronous=True, **{what: values})
        except Exception as error:
            if getattr(error, "error_code", None) not in FINAL_CODES:
                raise
            self._check()  # a deleted run is refused with the same word
            if len(values) == 1 or not cut:
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

    def _log_artifact(self, body: Dict[str, Any], fetch: Fetch) -> None:
        path = body["path"]
        with tempfile.TemporaryDirectory(prefix="lezea-monitor-") as folder:
            file = os.path.join(folder, posixpath.basename(path))
            fetch(path, body["bytes"], body["sha256"], file)
            if path == SUMMARY and self._is_shared(body, file):
                return
            place = self._put(Document(body, file))
        if place is None:
            raise Refused("%s: folders are in the place of the file" % path)
        if place != path:
            self._log_tags([{"key": "lezea_monitor.artifact." + path, "value": place}])

    # A run on several nodes

    def _merge(self, body: Dict[str, Any], fetch: Fetch) -> None:
        with tempfile.TemporaryDirectory(prefix="lezea-monitor-") as copies:
            file = os.path.join(copies, posixpath.basename(body["path"]))
            fetch(body["path"], body["bytes"], body["sha256"], file)
            self._merge_with(body, file)

    def _merge_with(self, body: Dict[str, Any], file: str) -> None:
        """This node's summary to the others', and the one of them all."""
        # Another machine of that name may be there already; the agent's key is nobody else's.
        own = metric_keys.node_folder("%s-%s" % (body["node"], self._key))
        places = [body["path"], posixpath.join(own, posixpath.basename(body["path"]))]
        artifacts = Artifacts(self._client, self._run_id)
        if artifacts.put(Document(body, file), places) is None:
            raise Refused("%s: folders are in the place of the file" % body["path"])
        if not self._node_merge(body).run(self._is_contested()):
            raise NotNow("%s: other nodes deliver theirs; merged again later" % body["path"])

    def _is_shared(self, body: Dict[str, Any], file: str) -> bool:
        """Whether a run that said nothing of nodes has others here: then it is merged."""
        own = summary_in(file, self._own_run)
        if own is None or not self._node_merge(body).has_others(own):
            return False
        node = own.node["name"]
        path = metric_keys.node_folder(node) + "/summary.json"
        self._merge_with({**body, "node": node, "path": path}, file)
        return True

    def _tells_of_all(self, tags: Sequence[Dict[str, str]]) -> bool:
        """The same of its tags: they are the merge's, which knows how the others came out."""
        own = [tag["value"] for tag in tags if tag["key"] == "lezea_monitor.summary_sha256"]
        if not own:
            return False
        merge = self._node_merge({"sha256": own[0]})
        return merge.is_there() and merge.run(self._is_contested())

    def _node_merge(self, body: Dict[str, Any]) -> NodeMerge:
        artifacts = Artifacts(self._client, self._run_id)
        return NodeMerge(artifacts, self._own_run, body, self._publish)

    def _is_contested(self) -> bool:
        """Whether the program may yet write over what is at a document's own place."""
        return not self._is_made and self._is_running()

    def _publish(self, merged: Json, sha256: str, place: str) -> None:
        """Tells the tracker. Whoever logs last, MLflow shows the merge of most documents."""
        metrics = metric_keys.metrics_of(merged)
        self._perhaps_there = True  # another node may have made the same
        for at in range(0, len(metrics), self.most_metrics):
            self._log_metrics(metrics[at : at + self.most_metrics])
        tags = metric_keys.tags_of(merged, sha256)
        if place != SUMMARY:
            tags.append({"key": "lezea_monitor.artifact." + SUMMARY, "value": place})
        self._log_tags(tags)

    def _put(self, document: Document) -> Optional[str]:
        aside = [posixpath.join(OURS, document.path)]
        if self._key:
            aside.append(posixpath.join(OURS, self._key, document.path))
        artifacts = Artifacts(self._client, self._run_id)
        place = artifacts.put(document, [document.path, *aside])
        # While its run goes on, the program may yet log a document of that name, and would not
        # look: ours lies where it stays as well.
        if place == document.path and self._is_contested():
            return artifacts.put(document, aside)
        return place

    def _is_running(self) -> bool:
        return self._check().info.status in ("RUNNING", "SCHEDULED")


def _most_metrics(address: str) -> int:
    """Of one batch. A server may be of any version; to a database this process's mlflow writes.

    Files do not notice repetitions, and databases do so rightly since 3.10.
    """
    kind = clean_address(address).partition(":")[0]
    if kind == "file":
        return MAX_METRICS
    version = re.match(r"(\d+)\.(\d+)", str(getattr(imported("mlflow"), "__version__", "")))
    recovers = version is not None and tuple(map(int, version.groups())) >= (3, 10)
    return MAX_METRICS if recovers and kind.partition("+")[0] in DATABASES else MAX_KEYS


def parse(body: Any) -> Dict[str, Any]:
    """An item's JSON text. Raises Refused for what is none."""
    try:
        read = json.loads(body) if isinstance(body, str) else body
    except ValueError as error:
        raise Refused("not JSON: %s" % error) from error
    if not isinstance(read, dict):
        raise Refused("not a JSON object")
    return read
