"""The summary of a run on several nodes, put together from the nodes' own.

Pure. The same documents give the same bytes as the agent's merge (src/files/merged-summary.ts),
in whatever order they come: whichever of the two is last at a tracker leaves the same there.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any, Dict, Iterable, List, Sequence

from .node_summary import COLUMNS, STATUSES, Column, Json, NodeSummary

Natives = Dict[str, int]
_NATIVES = {"ns": 10**9, "byte_ns": 10**9, "uj": 10**6}  # native units in a base unit, where not one
_SHIFT = 83  # bits behind the point that a float of 1e-9 and more can have
_INDEX = re.compile(r"(0|[1-9][0-9]{0,9})\Z")
_LONE = re.compile("[\ud800-\udfff]")


def in_order(documents: Iterable[NodeSummary]) -> List[NodeSummary]:
    """Each once, in an order that does not depend on how they were found."""
    once = {document.sha256: document for document in documents}
    return sorted(
        once.values(), key=lambda d: (units(d.node["name"]), d.run["attempt"], units(d.sha256))
    )


def last_attempts(documents: Sequence[NodeSummary]) -> List[NodeSummary]:
    """Of each node the documents of its last attempt: they say how the run came out."""
    last: Dict[str, float] = {}
    for one in documents:
        last[one.node["name"]] = max(one.run["attempt"], last.get(one.node["name"], 0))
    return [one for one in documents if one.run["attempt"] == last[one.node["name"]]]


def merge(found: Iterable[NodeSummary]) -> Json:
    """At least one document."""
    documents = in_order(found)
    last = last_attempts(documents)
    by_boot = {document.node["boot_id"]: document.node for document in reversed(last)}
    nodes = list(reversed(list(by_boot.values())))
    return {
        "schema": "lezea.resources/v1",
        "merged_from": [
            {"node": d.node["name"], "attempt": d.run["attempt"], "sha256": d.sha256}
            for d in documents
        ],
        "run": _run(documents, last),
        "nodes": nodes,
        **_environments(last),
        "hosts": {
            "count": len(nodes),
            "cpus": sum(node["cpus"] for node in nodes),
            "memory_bytes": sum(node["memory_bytes"] for node in nodes),
        },
        "totals": _totals(documents),
        "scopes": _scopes(documents),
        "unattributed": _unattributed(documents),
        "conservation": _conservation(documents),
        "agent": {
            "versions": sorted({d.agent["version"] for d in documents}, key=units),
            "lost_events": sum(d.agent["lost_events"] for d in documents),
        },
    }


def text_of(merged: Json) -> bytes:
    """As the document lies at the tracker: one scope a line."""
    tail = ("unattributed", "conservation", "agent")
    head = {key: value for key, value in merged.items() if key not in ("scopes", *tail)}
    scopes = ",".join("\n  " + to_json(scope) for scope in merged["scopes"])
    end = _members({key: merged[key] for key in tail})
    return ('{\n%s,\n"scopes": [%s\n],\n%s\n}\n' % (_members(head), scopes, end)).encode()


def _environments(last: Sequence[NodeSummary]) -> Json:
    known = {d.node["name"]: d.environment for d in last if d.environment is not None}
    return {"environments": known} if known else {}


def _run(documents: Sequence[NodeSummary], last: Sequence[NodeSummary]) -> Json:
    runs = [document.run for document in documents]
    worst = max((document.run["status"] for document in last), key=STATUSES.index)
    told = [d for d in last if d.run["status"] == worst and "reason" in d.run]
    tags: Json = {}
    for run in runs:
        tags.update(run["tags"])
    # Of what every node should say alike, what the first says that says it.
    known = {key: run[key] for run in reversed(runs) for key in run}
    merged: Json = {"id": runs[0]["id"]}
    merged.update((key, known[key]) for key in ("experiment", "name") if key in known)
    merged.update(attempt=max(run["attempt"] for run in runs), status=worst)
    if told:
        merged["reason"] = "%s: %s" % (told[0].node["name"], told[0].run["reason"])
    merged.update(user=known["user"], started_at=min(run["started_at"] for run in runs))
    ends = [run["ended_at"] for run in runs if "ended_at" in run]
    if ends:
        merged["ended_at"] = max(ends)
    merged["tags"] = tags
    if "world_size" in known:
        merged["world_size"] = known["world_size"]
    return merged


def _totals(documents: Sequence[NodeSummary]) -> Json:
    totals = {}
    for column in COLUMNS:
        known = [document for document in documents if column.name in document.totals]
        if known:
            totals[column.name] = _total(documents, known, column)
    return totals


def _total(documents: Sequence[NodeSummary], known: Sequence[NodeSummary], column: Column) -> Json:
    parts = [document.totals[column.name] for document in known]
    methods = [part["scopes_method"] for part in parts if "scopes_method" in part]
    coverages = [part["coverage"] for part in parts if "coverage" in part]
    knowing = {document.node["name"]: 0 for document in known}
    names = {document.node["name"]: 0 for document in documents}
    total: Json = {"value": _sum(known, column)}
    if not column.additive:
        total["nodes"] = {
            name: _sum([one for one in known if one.node["name"] == name], column)
            for name in knowing
        }
    estimated = any(part["method"] == "estimated" for part in parts)
    total["method"] = "estimated" if estimated else "measured"
    if methods:
        loosest = ("estimated", "apportioned", "measured")
        total["scopes_method"] = min(methods, key=loosest.index)
    total["source"] = "+".join(sorted({part["source"] for part in parts}, key=units))
    if coverages:
        total["coverage"] = min(coverages)
    unknown = [name for name in names if name not in knowing]
    if unknown:
        total["unknown_on"] = unknown
    return total


def _sum(documents: Sequence[NodeSummary], column: Column) -> float:
    """Of whole runs: as the books have it, which passes what a float can hold."""
    total = 0
    for document in documents:
        line = document.conservation.get(column.name)
        value = document.totals[column.name]["value"]
        native = int(line["total"]) if line else native_of(value, column.unit)
        total = _together(column, total, native)
    return base_of(total, column.unit)


def _scopes(documents: Sequence[NodeSummary]) -> List[Json]:
    """Every scope that any node had, by path: what a scope lies in comes before it."""
    known: Dict[str, Any] = {}
    for document in documents:
        for scope in document.scopes:
            _, own, inclusive = known.setdefault(scope["path"], (scope, {}, {}))
            _add(own, _natives(scope["self"]))
            _add(inclusive, _natives(scope["inclusive"]))
    merged = []
    for path in sorted(known, key=units):
        first, own, inclusive = known[path]
        names = ("path", "level", "name", "label", "parent")
        scope = {key: first[key] for key in names if key in first}
        merged.append({**scope, "self": _columns(own), "inclusive": _columns(inclusive)})
    return merged


def _unattributed(documents: Sequence[NodeSummary]) -> Json:
    sums: Natives = {}
    for document in documents:
        natives = _natives(document.unattributed)
        for name in natives:
            line = document.conservation.get(name)
            if line:  # as the books have it: a float cannot hold every integer
                natives[name] = int(line["unattributed"])
        _add(sums, natives)
    return _columns(sums)


def _conservation(documents: Sequence[NodeSummary]) -> Json:
    """The nodes' books, added up: they balance because each of them does."""
    lines = {}
    for name, unit, _ in COLUMNS:
        parts = [d.conservation[name] for d in documents if name in d.conservation]
        if parts:
            keys = ("scopes", "unattributed", "total")
            sums = {key: sum(int(part[key]) for part in parts) for key in keys}
            residual = sums["total"] - sums["scopes"] - sums["unattributed"]
            texts = {key: str(value) for key, value in sums.items()}
            lines[name] = {"unit": unit, **texts, "residual": str(residual)}
    return lines


# Figures: between a document and the integers that they were


def native_of(value: float, unit: str) -> int:
    """The integer that is nearest to a figure of a document."""
    whole = math.floor(value)
    natives = _NATIVES.get(unit)
    if natives is None:
        return whole + (value - whole >= 0.5)
    rest = int((value - whole) * 2.0**_SHIFT)
    return whole * natives + ((rest * natives + (1 << (_SHIFT - 1))) >> _SHIFT)


def base_of(native: int, unit: str) -> float:
    """The figure as documents have it."""
    return float(native) / _NATIVES.get(unit, 1)


def _natives(columns: Json) -> Natives:
    """The known columns of a list of figures."""
    return {c.name: native_of(columns[c.name], c.unit) for c in COLUMNS if c.name in columns}


def _add(sums: Natives, natives: Natives) -> None:
    for column in COLUMNS:
        if column.name in natives:
            before = sums.get(column.name, 0)
            sums[column.name] = _together(column, before, natives[column.name])


def _together(column: Column, one: int, other: int) -> int:
    return one + other if column.additive else max(one, other)


def _columns(natives: Natives) -> Json:
    return {c.name: base_of(natives[c.name], c.unit) for c in COLUMNS if c.name in natives}


# Text: as JavaScript writes it


def units(text: str) -> bytes:
    """Sorts texts by UTF-16 units."""
    return text.encode("utf-16-be", "surrogatepass")


def to_json(value: Any) -> str:
    """As JSON.stringify."""
    if isinstance(value, dict):
        pairs = ("%s:%s" % (to_json(key), to_json(value[key])) for key in _in_js_order(value))
        return "{%s}" % ",".join(pairs)
    if isinstance(value, list):
        return "[%s]" % ",".join(map(to_json, value))
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return _LONE.sub(lambda lone: "\\u%04x" % ord(lone.group()), text)
    return "null" if value is None else number(float(value))


def number(value: float) -> str:
    """A finite number as JavaScript writes it: the same digits, another way with exponents."""
    if value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    text = repr(value)
    if "e" not in text:
        return text
    sign, digits, exponent = Decimal(text).as_tuple()
    word = "".join(map(str, digits)).rstrip("0")
    point = len(digits) + int(exponent)  # where it stands, from the first digit
    if len(word) <= point <= 21:
        word += "0" * (point - len(word))
    elif 0 < point <= 21:
        word = word[:point] + "." + word[point:]
    elif -6 < point <= 0:
        word = "0." + "0" * -point + word
    else:
        word = word[0] + ("." + word[1:] if len(word) > 1 else "") + "e%+d" % (point - 1)
    return "-" + word if sign else word


def _members(part: Json) -> str:
    """The members of an object without its braces, one a line."""
    return ",\n".join("%s: %s" % (to_json(key), to_json(part[key])) for key in part)


def _in_js_order(value: Json) -> List[str]:
    """Keys that read like an array's come first."""
    indexes = [key for key in value if _INDEX.match(key) and int(key) < 2**32 - 1]
    return sorted(indexes, key=int) + [key for key in value if key not in set(indexes)]
