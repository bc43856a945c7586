"""Makes one summary of a run that several nodes have delivered, each its own, to one MLflow run.

Reads the nodes' summaries among the run's artifacts; emits resources/summary.json, and says what
figures and tags go with it. The agent merges by the same rules (src/delivery/mlflow/merge.ts):
a node's own is there before it looks for the others', and it looks again once it has written, so
that whoever is last has merged them all.
"""

import os
import posixpath
from hashlib import sha256
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from .merged_summary import in_order, last_attempts, merge, text_of, units
from .metric_keys import node_folder
from .mlflow_artifacts import MAX_REPLACED_BYTES, Artifacts
from .node_summary import Json, NodeSummary, merged_from, read_node_summary

ROOT = "resources"
SUMMARY = ROOT + "/summary.json"
MAX_ROUNDS = 5  # how often others may come in between
Publish = Callable[[Json, str, str], None]  # merged, sha256 of its text, where it lies


class Found(NamedTuple):
    """A summary as it was listed."""

    path: str
    size: Optional[int]  # not every store says it


class Known(NamedTuple):
    data: bytes
    summary: Optional[NodeSummary]  # None: another run's, another program's, or not whole yet


class NodeMerge:
    """`body` is the item's: which document of this node is there already."""

    def __init__(
        self, artifacts: Artifacts, run_id: str, body: Dict[str, Any], publish: Publish
    ) -> None:
        self._artifacts = artifacts
        self._run_id = run_id
        self._own: str = body["sha256"]
        self._replaces: Sequence[str] = body.get("replaces") or ()
        self._publish = publish
        self._read: Dict[Found, Known] = {}
        self._listed: List[Found] = []

    def run(self, is_contested: bool) -> bool:
        """False: others were faster, every time; or this node's own is not listed yet.

        is_contested: somebody may write a summary of its own, and would not look.
        """
        for _ in range(MAX_ROUNDS):
            documents = self._documents()
            summaries = in_order(one.summary for one in documents if one.summary is not None)
            if not any(summary.sha256 == self._own for summary in summaries):
                return False
            merged = merge(summaries)
            text = _text(merged, summaries, documents)
            place = self._place(text, documents, is_contested)
            if place is None:
                continue
            self._publish(merged, sha256(text).hexdigest(), place)
            # Paths and sizes tell: a node's document becomes another only with a further attempt,
            # whose own document is there before, at a path of its own.
            if self._list() == self._listed:
                return True
        return False

    def is_there(self) -> bool:
        """Whether there is a folder of nodes."""
        return ROOT in self._folders("") and "nodes" in self._folders(ROOT)

    def has_others(self, own: NodeSummary) -> bool:
        """Whether a run that said nothing of nodes shares its place with another node's part."""
        if self.is_there():
            return True
        found = self._artifacts.look(SUMMARY)
        if isinstance(found, str) or int(found.file_size or 0) > MAX_REPLACED_BYTES:
            return False
        other = read_node_summary(self._artifacts.read(SUMMARY), self._run_id)
        if other is None or other.sha256 in (own.sha256, *self._replaces):
            return False
        return any(other.node[key] != own.node[key] for key in ("name", "boot_id"))

    # Where the merge goes

    def _place(
        self, text: bytes, documents: Sequence[Known], is_contested: bool
    ) -> Optional[str]:
        """Writes it where it may; None: something was moved out of its way."""
        first = self._settle(SUMMARY, text, documents)
        if first == "moved":
            return None
        if first == "there" and not is_contested:
            return SUMMARY
        aside = "lezea-monitor/" + SUMMARY
        if self._settle(aside, text, documents) == "there":
            return aside
        last = "lezea-monitor/%s/%s" % (self._run_id, SUMMARY)
        if self._settle(last, text, documents, is_ours=True) == "there":
            return last
        raise OSError("%s is a folder of the run's artifacts" % last)

    def _settle(
        self, path: str, text: bytes, documents: Sequence[Known], is_ours: bool = False
    ) -> str:
        """`there`, `moved`, or `taken`: something else lies there."""
        found = self._artifacts.look(path)
        if found == "folder":
            return "taken"
        if found != "nothing":
            if int(found.file_size or 0) > MAX_REPLACED_BYTES:
                if not is_ours:
                    return "taken"
            else:
                there = self._artifacts.read(path)
                if there == text:
                    return "there"
                if path == SUMMARY and self._move(there, documents):
                    return "moved"
                if not is_ours and not self._is_older(there, text, documents):
                    return "taken"
        self._artifacts.write(path, text)
        return "there"

    def _is_older(self, there: bytes, text: bytes, documents: Sequence[Known]) -> bool:
        """A merge of fewer, one of the documents, or the beginning of something of ours."""
        known = {one.summary.sha256 for one in documents if one.summary} | set(self._replaces)
        if sha256(there).hexdigest() in known:
            return True
        parts = merged_from(there)
        if parts is not None:
            return bool(parts) and known.issuperset(parts)
        return any(whole.startswith(there) for whole in (text, *(one.data for one in documents)))

    def _move(self, there: bytes, documents: Sequence[Known]) -> bool:
        """What a node that knew of no other put where the merge goes: to the other nodes'."""
        summary = read_node_summary(there, self._run_id)
        if summary is None or summary.sha256 in self._replaces:
            return False
        if any(one.summary and one.summary.sha256 == summary.sha256 for one in documents):
            return False
        path = node_folder(summary.node["name"]) + "/summary.json"
        if self._artifacts.look(path) != "nothing":
            return False
        self._artifacts.write(path, there)
        return True

    # What the nodes have put there

    def _documents(self) -> List[Known]:
        """As they are now; what was read before, and is of the same size, is not read again."""
        self._listed = self._list()
        return [self._document(found) for found in self._listed]

    def _document(self, found: Found) -> Known:
        known = self._read.get(found)
        if known is not None and found.size is not None:
            return known
        data = b""
        if (found.size or 0) <= MAX_REPLACED_BYTES:
            data = self._artifacts.read(found.path)
        known = Known(data, read_node_summary(data, self._run_id))
        self._read[found] = known
        return known

    def _list(self) -> List[Found]:
        """Of each node its own, and those of its attempts; of no node, the attempts'."""
        found = self._attempts(ROOT)
        if "nodes" in self._folders(ROOT):
            for name in self._folders(ROOT + "/nodes"):
                node = "%s/nodes/%s" % (ROOT, name)
                found += self._summaries(node) + self._attempts(node)
        return sorted(found, key=lambda one: units(one.path))

    def _attempts(self, folder: str) -> List[Found]:
        if "attempts" not in self._folders(folder):
            return []
        attempts = folder + "/attempts"
        folders = ["%s/%s" % (attempts, name) for name in self._folders(attempts)]
        return [found for folder in folders for found in self._summaries(folder)]

    def _folders(self, folder: str) -> List[str]:
        entries = self._artifacts.entries(folder)
        return [posixpath.basename(entry.path) for entry in entries if entry.is_dir]

    def _summaries(self, folder: str) -> List[Found]:
        for entry in self._artifacts.entries(folder):
            if not entry.is_dir and posixpath.basename(entry.path) == "summary.json":
                size = None if entry.file_size is None else int(entry.file_size)
                return [Found(folder + "/summary.json", size)]
        return []


def summary_in(file: str, run_id: str) -> Optional[NodeSummary]:
    if os.path.getsize(file) > MAX_REPLACED_BYTES:
        return None
    with open(file, "rb") as stream:
        return read_node_summary(stream.read(), run_id)


def _text(merged: Json, summaries: Sequence[NodeSummary], documents: Sequence[Known]) -> bytes:
    """Of one node alone it is that node's own, as for a run on one node."""
    last, *others = last_attempts(summaries)
    if not others and all(one.node["name"] == last.node["name"] for one in summaries):
        for document in documents:
            if document.summary is not None and document.summary.sha256 == last.sha256:
                return document.data
    return text_of(merged)
