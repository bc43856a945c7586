"""What must be so after a trial: the tracker has what the agent acknowledged, once and unchanged.

Knows what `run.end` answered, what the agent says of its ended runs, and what the tracker's
database and artifact folder hold. Reads; owns nothing.
"""

import hashlib
import math
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Dict, List, Optional

from .mlflow import Mlflow
from .said import DOCUMENTS, SUMMARY, Said

CREATED_TAG = "lezea_monitor.created_for"
# What MLflow leaves of an upload that was cut.
SERVERS_OWN = ".artifact.uploading."
ENDED = {"FINISHED": "FINISHED", "FAILED": "FAILED", "INTERRUPTED": "KILLED", "KILLED": "KILLED",
         "LOST": "FAILED"}  # fmt: skip


@dataclass
class Verdict:
    lost: List[str] = field(default_factory=list)
    doubled: List[str] = field(default_factory=list)
    wrong: List[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


def judge(said: Said, mlflow: Mlflow, verdict: Verdict, earlier: Optional[Said] = None) -> None:
    """`earlier`: the attempt before this one, to the same MLflow run."""
    name = "%s attempt %d: " % (said.run_id, said.attempt)
    runs = _runs(said, mlflow)
    if said.state is None:
        if said.answer is not None:
            verdict.lost.append(name + "run.end was answered, and the agent knows no such run")
        for run in runs:
            if mlflow.rows("SELECT key FROM metrics WHERE run_uuid = ?", run[0]):
                verdict.wrong.append(name + "figures of a run that the agent does not know")
        return
    if said.answer is not None:
        _judge_answer(said, verdict, name)
    if not runs:
        verdict.lost.append(name + "the tracker has no run for it")
        return
    if len(runs) > 1:
        verdict.doubled.append(name + "%d runs were made for it" % len(runs))
    run_uuid, status, artifact_uri = runs[0]
    _judge_metrics(said, mlflow, run_uuid, verdict, name, earlier)
    _judge_tags(said, mlflow, run_uuid, verdict, name)
    _judge_artifacts(said, mlflow.artifacts(artifact_uri), verdict, name, earlier)
    allowed = {ENDED[said.state["status"]]}
    if earlier is not None and earlier.state is not None:
        allowed.add(ENDED[earlier.state["status"]])
    # Its trainer lived when it ended, and ends its own; it may have died before it heard of it.
    if said.mlflow_run is not None and (said.answer is not None or said.state["status"] == "FINISHED"):
        allowed.add("RUNNING")
    if status not in allowed:
        verdict.wrong.append(name + "the MLflow run is %s; expected %s" % (status, sorted(allowed)))


def _runs(said: Said, mlflow: Mlflow) -> "List[tuple]":
    columns = "SELECT run_uuid, status, artifact_uri FROM runs "
    if said.mlflow_run is not None:
        return mlflow.rows(columns + "WHERE run_uuid = ?", said.mlflow_run)
    return mlflow.rows(
        columns + "JOIN experiments USING (experiment_id) WHERE experiments.name = ? "
        "AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = ?)",
        said.experiment, CREATED_TAG,
    )  # fmt: skip


def _judge_answer(said: Said, verdict: Verdict, name: str) -> None:
    """What was acknowledged is what the agent says for ever."""
    assert said.answer is not None and said.state is not None
    if not said.answer["final"]:
        verdict.wrong.append(name + "run.end of all was answered as not final")
    if said.answer["status"] != said.state["status"]:
        was, now = said.answer["status"], said.state["status"]
        verdict.wrong.append("%sthe status was %s, is %s" % (name, was, now))
    totals = {column: total["value"] for column, total in said.summary["totals"].items()}
    if said.answer["totals"] != totals:
        verdict.wrong.append("%stotals were %s, are %s" % (name, said.answer["totals"], totals))


def _judge_metrics(
    said: Said, mlflow: Mlflow, run: str, verdict: Verdict, name: str, earlier: Optional[Said]
) -> None:
    columns = "SELECT key, value, step, timestamp, is_nan FROM metrics "
    rows = mlflow.rows(columns + "WHERE run_uuid = ?", run)
    ends = {each.attempt: each.ended_ms for each in (said, earlier) if each is not None}
    for key, _, step, timestamp, is_nan in rows:
        if ends.get(step) != timestamp or is_nan:
            at = "the tracker has %s at step %d, %d, NaN %s" % (key, step, timestamp, is_nan)
            verdict.wrong.append(name + at)
    expected = said.metrics()
    if earlier is not None:
        _compare(rows, earlier.attempt, earlier.metrics(), verdict, name)
        expected = _together(earlier.metrics(), expected)
    _compare(rows, said.attempt, expected, verdict, name, exactly=earlier is None)


def _compare(
    rows: "List[tuple]", step: int, expected: Dict[str, float], verdict: Verdict, name: str,
    exactly: bool = True,
) -> None:  # fmt: skip
    """The rows of one step and what they must be."""
    own = [(key, value) for key, value, at, *_ in rows if at == step]
    counts = Counter(key for key, _ in own)
    verdict.doubled += [name + "%s: %d rows" % (key, n) for key, n in counts.items() if n > 1]
    there = dict(own)
    for key, value in expected.items():
        if key not in there:
            verdict.lost.append("%s%s %r" % (name, key, value))
        elif not _same(there[key], value, exactly):
            verdict.wrong.append("%s%s is %r; expected %r" % (name, key, there[key], value))
    for key in there.keys() - expected.keys():
        verdict.wrong.append("%s%s: nothing of that key was said" % (name, key))


def _together(first: Dict[str, float], second: Dict[str, float]) -> Dict[str, float]:
    """Two attempts: sums, but of peaks the greater."""
    both = dict(first)
    for key, value in second.items():
        before = first.get(key, 0)
        both[key] = max(before, value) if key.endswith("_peak_bytes") else before + value
    return both


def _same(there: float, expected: float, exactly: bool) -> bool:
    # The agent adds up integers, and the harness what became of them.
    return there == expected if exactly else math.isclose(there, expected, rel_tol=1e-12)


def _judge_tags(said: Said, mlflow: Mlflow, run: str, verdict: Verdict, name: str) -> None:
    tags = dict(mlflow.rows("SELECT key, value FROM tags WHERE run_uuid = ?", run))
    assert said.state is not None
    expected = {"status": said.state["status"], "run_id": said.run_id, "attempt": str(said.attempt)}
    expected["reason"] = said.state.get("reason", "")
    if SUMMARY not in said.missing:
        expected["summary_sha256"] = hashlib.sha256(said.documents[SUMMARY]).hexdigest()
    for key, value in expected.items():
        there = tags.get("lezea_monitor." + key)
        if there is None:
            verdict.lost.append(name + "tag " + key)
        elif there != value:
            verdict.wrong.append("%stag %s is %r; expected %r" % (name, key, there, value))


def _judge_artifacts(
    said: Said, there: Dict[str, bytes], verdict: Verdict, name: str, earlier: Optional[Said]
) -> None:
    for path in DOCUMENTS:
        if path in said.missing:
            continue
        data = said.documents.get(path)
        if data is None or path not in there:
            verdict.lost.append(name + path)
        elif there[path] != data:
            verdict.wrong.append(
                "%s%s: %d bytes of %d" % (name, path, len(there[path]), len(data))
            )
    known = set(said.documents) | {"lezea-monitor/" + path for path in said.documents}
    # Of several attempts each has its own beside the last one's.
    for attempt in (said, earlier):
        for path, data in attempt.documents.items() if attempt else ():
            name_there = path[len("resources/") :] if path.startswith("resources/") else path
            own = "resources/attempts/%d/%s" % (attempt.attempt, name_there)
            for place in (own, "lezea-monitor/" + own):
                known.add(place)
                if there.get(place, data) != data:
                    verdict.wrong.append("%s%s is not the attempt's" % (name, place))
    for path in there.keys() - known:
        if os.path.basename(path).startswith(SERVERS_OWN):
            continue
        verdict.wrong.append("%sartifact %s is none of its documents" % (name, path))
    for path, data in said.documents.items():
        # The second copy is kept while the MLflow run runs: it may be of the attempt before.
        ours = [data] + ([earlier.documents.get(path)] if earlier is not None else [])
        if there.get("lezea-monitor/" + path, data) not in ours and path not in said.missing:
            verdict.wrong.append("%slezea-monitor/%s is another" % (name, path))
