"""A node's summary as it is read back from a tracker, where anybody may have written it.

Reads bytes; emits what a merge needs, checked as the agent checks it (src/files/node-summary.ts):
what one of the two takes for a summary, the other does. Owns the columns that can be merged.
"""

import hashlib
import json
import re
from datetime import datetime
from typing import Any, Dict, List, NamedTuple, Optional

Json = Dict[str, Any]


class Column(NamedTuple):
    name: str
    unit: str  # native: ns, byte_ns, uj, bytes, count
    additive: bool


# In the agent's order (src/native/frame.ts).
COLUMNS = tuple(
    Column(*line.split(), not name.endswith("_peak_bytes"))  # a peak is the greatest, not a sum
    for line in """
    cpu_seconds ns
    cpu_user_seconds ns
    cpu_system_seconds ns
    runqueue_wait_seconds ns
    memory_byte_seconds byte_ns
    io_read_bytes bytes
    io_write_bytes bytes
    io_cancelled_write_bytes bytes
    io_logical_read_bytes bytes
    io_logical_write_bytes bytes
    io_read_ops count
    io_write_ops count
    minor_faults count
    major_faults count
    voluntary_switches count
    involuntary_switches count
    active_seconds ns
    activations count
    memory_peak_bytes bytes
    cpu_energy_joules uj
    gpu_active_seconds ns
    gpu_allocated_seconds ns
    gpu_energy_joules uj
    gpu_memory_byte_seconds byte_ns
    gpu_memory_peak_bytes bytes
    """.split("\n")
    for name in line.split()[:1]
)
STATUSES = ("FINISHED", "INTERRUPTED", "FAILED", "KILLED", "LOST")  # the worst last
_SAFE = 2**53 - 1
_MAX_FIGURE = 1e31  # 40 digits in native units, as the books: sums of them stay numbers
_INTEGER = re.compile(r"[0-9]{1,40}\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d+)?Z\Z", re.ASCII)
_RUN = {"id": 1, "experiment": 0, "name": 0, "status": 1, "reason": 0, "user": 1}
_NODE = ("name", "boot_id", "architecture", "kernel")


class NodeSummary(NamedTuple):
    """One node's document of one attempt; numbers are floats, as in JavaScript."""

    run: Json
    node: Json
    environment: Optional[str]  # its stable fingerprint, where it is known
    totals: Json
    scopes: List[Json]
    unattributed: Json
    conservation: Json
    agent: Json
    sha256: str  # of the bytes


class _Wrong(Exception):
    pass


def read_json(data: bytes) -> Any:
    """None for what is no JSON; every number is a float, and no key is `__proto__`."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    def known(pairs: List[Any]) -> Json:
        return {key: value for key, value in pairs if key != "__proto__"}

    try:
        text = data.decode("utf-8", "replace")
        return json.loads(
            text, parse_int=float, parse_constant=refuse, object_pairs_hook=known
        )
    except (ValueError, RecursionError):  # an upload that was cut short, or something else
        return None


def read_node_summary(data: bytes, run_id: str) -> Optional[NodeSummary]:
    """None for what is no node's summary of that run. A merge is none either: it has no `node`."""
    try:
        document = _object(read_json(data))
        _demand(document.get("schema") == "lezea.resources/v1")
        run, agent = _run(document.get("run")), _object(document.get("agent"))
        _demand(run["id"] == run_id and isinstance(agent.get("version"), str))
        _demand(_is_int(agent.get("lost_events"), 0))
        return NodeSummary(
            run,
            _node(document.get("node")),
            _environment(document["environment"]) if "environment" in document else None,
            {name: _total(part) for name, part in _object(document.get("totals")).items()},
            [_scope(scope) for scope in _list(document.get("scopes"))],
            _figures(document.get("unattributed")),
            {k: _books(line) for k, line in _object(document.get("conservation")).items()},
            agent,
            hashlib.sha256(data).hexdigest(),
        )
    except _Wrong:
        return None


def merged_from(data: bytes) -> Optional[List[str]]:
    """Hashes of the documents that a merge was made from; None for what is no merge."""
    try:
        parts = _list(_object(read_json(data)).get("merged_from"))
        hashes = [_object(part).get("sha256") for part in parts]
        _demand(all(isinstance(one, str) for one in hashes))
        return hashes
    except _Wrong:
        return None


def parse_path(path: str) -> Optional[List["tuple[str, str]"]]:
    """Levels and names of `level:name/level:name`."""
    steps = []
    for step in path.split("/"):
        level, colon, name = step.partition(":")
        if not (level and colon and name):
            return None
        steps.append((level, name))
    return steps


def _demand(holds: bool) -> None:
    if not holds:
        raise _Wrong


def _object(value: Any) -> Json:
    _demand(isinstance(value, dict))
    return value


def _list(value: Any) -> List[Any]:
    _demand(isinstance(value, list))
    return value


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, float) and value.is_integer() and least <= value <= _SAFE


def _is_figure(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value <= _MAX_FIGURE


def _is_time(value: Any) -> bool:
    if not (isinstance(value, str) and _TIME.match(value)):
        return False
    try:
        return bool(datetime.strptime(value[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return False


def _figures(value: Any) -> Json:
    _demand(all(_is_figure(figure) for figure in _object(value).values()))
    return value


def _run(value: Any) -> Json:
    run = _object(value)
    for key, is_needed in _RUN.items():
        _demand(isinstance(run[key], str) if key in run else not is_needed)
    _demand(run["status"] in STATUSES and _is_int(run.get("attempt"), 1))
    _demand(_is_time(run.get("started_at")) and _is_time(run.get("ended_at", run["started_at"])))
    _demand(all(isinstance(text, str) for text in _object(run.get("tags")).values()))
    _demand("world_size" not in run or _is_int(run["world_size"], 1))
    return run


def _node(value: Any) -> Json:
    node = _object(value)
    _demand(all(isinstance(node.get(key), str) for key in _NODE) and node["name"] != "")
    numbers = ("cpus", "memory_bytes")
    _demand(all(_is_int(node.get(key), 0) for key in numbers))
    return {key: node[key] for key in (*_NODE, *numbers)}


def _environment(value: Any) -> str:
    fingerprint = _object(value).get("fingerprint")
    _demand(isinstance(fingerprint, str))
    return fingerprint


def _total(value: Any) -> Json:
    part = _object(value)
    _demand(_is_figure(part.get("value")) and isinstance(part.get("source"), str))
    _demand(part.get("method") in ("measured", "estimated"))
    if "scopes_method" in part:
        _demand(part["scopes_method"] in ("measured", "apportioned", "estimated"))
    if "coverage" in part:
        _demand(_is_figure(part["coverage"]) and part["coverage"] <= 1)
    return part


def _scope(value: Any) -> Json:
    scope = _object(value)
    _demand(all(isinstance(scope.get(key), str) for key in ("path", "level", "name")))
    _demand(parse_path(scope["path"]) is not None and isinstance(scope.get("label", ""), str))
    _demand("parent" in scope and isinstance(scope["parent"], (str, type(None))))
    for share in ("self", "inclusive"):
        _figures(scope.get(share))
    return scope


def _books(value: Any) -> Json:
    line = _object(value)
    for key in ("scopes", "unattributed", "total"):
        _demand(isinstance(line.get(key), str) and bool(_INTEGER.match(line[key])))
    _demand(line.get("residual") == "0")
    return line
