"""What a merged summary's figures are called at MLflow, and its tags. Pure.

As the agent names them (src/delivery/mlflow/keys.ts, plan.ts): there is one name for a figure.
"""

import hashlib
import math
import re
from datetime import datetime
from typing import Any, Dict, List, Sequence

from .merged_summary import units
from .node_summary import COLUMNS, Json, parse_path

MAX_FOLDER_CHARS = 250 - 60  # of MLflow's longest key: room for `/inclusive/` and any column
MAX_NODE_CHARS = 64
MAX_TAG_UNITS = 5000
_TAKEN = {"inclusive", "total", "nodes", "attempts", "cut"} | {column.name for column in COLUMNS}
_ESCAPE = re.compile(r"\.(?=x[0-9a-f]{2})")
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")


def metrics_of(merged: Json) -> List[Json]:
    """Every figure that is known and not zero, at the last end and attempt."""
    run = merged["run"]
    at = {"timestamp": _milliseconds(run.get("ended_at", run["started_at"]))}
    at["step"] = int(run["attempt"])
    totals = {name: total["value"] for name, total in merged["totals"].items()}
    found = [{"key": "resources/total/" + name, "value": v, **at} for name, v in _shown(totals)]
    for scope in merged["scopes"]:
        folder = scope_folder(scope["path"])
        for share, word in (("self", "/"), ("inclusive", "/inclusive/")):
            shown = _shown(scope[share])
            found += [{"key": folder + word + name, "value": v, **at} for name, v in shown]
    return found


def tags_of(merged: Json, sha256: str) -> List[Dict[str, str]]:
    run = merged["run"]
    names = dict.fromkeys(part["node"] for part in merged["merged_from"])
    values = {
        "status": run["status"],
        "reason": _cut(run.get("reason", "")),
        "run_id": run["id"],
        "node": _cut(",".join(names)),
        "attempt": str(int(run["attempt"])),
        "summary_sha256": sha256,
    }
    if "environments" in merged:
        fingerprints = sorted(set(merged["environments"].values()), key=units)
        values["environment_fingerprint"] = _cut(",".join(fingerprints))
    return [{"key": "lezea_monitor." + name, "value": value} for name, value in values.items()]


def node_folder(node: str) -> str:
    """Where a node's own documents are."""
    segment = _segment(node)
    if len(segment) > MAX_NODE_CHARS:
        segment = "cut-" + _hash(node)
    return "resources/nodes/" + segment


def scope_folder(path: str) -> str:
    """What the keys of a scope begin with; of one whose path is too long, a hash is the end."""
    parts = ["/%s/%s" % (_level(lev), _segment(name)) for lev, name in parse_path(path) or ()]
    whole = "resources" + "".join(parts)
    if len(whole) <= MAX_FOLDER_CHARS:
        return whole
    tail, head = "/cut/" + _hash(path), "resources"
    for part in parts:
        if len(head) + len(part) + len(tail) > MAX_FOLDER_CHARS:
            break
        head += part
    return head + tail


def _shown(columns: Json) -> Sequence[Any]:
    known = ((c.name, columns[c.name]) for c in COLUMNS if c.name in columns)
    return [(name, value) for name, value in known if value != 0 and math.isfinite(value)]


def _milliseconds(time: str) -> int:
    """Since 1970; of `2026-11-21T10:00:00.123Z`."""
    whole, _, fraction = time[:-1].partition(".")
    since = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S") - datetime(1970, 1, 1)
    return (since.days * 86_400 + since.seconds) * 1000 + int((fraction + "000")[:3])


def _level(level: str) -> str:
    segment = _segment(level)
    return _escape(segment[0]) + segment[1:] if segment in _TAKEN else segment


def _segment(text: str) -> str:
    """Any text as letters, digits, `.`, `_` and `-`, never `.` or `..`."""
    if text in (".", ".."):
        return _escape(text)
    text = _ESCAPE.sub(_escape("."), text)
    return _OTHER.sub(lambda found: _escape(found.group()), text)


def _escape(text: str) -> str:
    return "".join(".x%02x" % byte for byte in _whole(text).encode())


def _hash(text: str) -> str:
    return hashlib.sha256(_whole(text).encode()).hexdigest()[:32]


def _whole(text: str) -> str:
    """Half a character becomes a whole one."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _cut(text: str) -> str:
    """The beginning of a text, in whole characters, without what a database may choke on."""
    raw = _whole(text.replace("\0", "")).encode("utf-16-le")
    if len(raw) <= 2 * MAX_TAG_UNITS:
        return raw.decode("utf-16-le")
    return raw[: 2 * (MAX_TAG_UNITS - 1)].decode("utf-16-le", "ignore") + "…"
