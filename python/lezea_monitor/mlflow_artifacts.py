"""A run's documents among the artifacts of its MLflow run. Nobody else's is overwritten.

Reads what lies there before it writes, through an MlflowClient. Owns nothing. The agent's own
delivery goes by the same rules, so that a document is at the same place whoever brought it.
"""

import hashlib
import os
import posixpath
import tempfile
from typing import Any, Dict, List, Optional, Sequence

# A longer artifact than this is none of ours from an earlier attempt.
MAX_REPLACED_BYTES = 64 * 1024 * 1024


class Document:
    """What is to be there: a file of ours, and hashes of those that it may take the place of."""

    def __init__(self, body: Dict[str, Any], file: str) -> None:
        self.path: str = body["path"]
        self.size: int = body["bytes"]
        self.sha256: str = body["sha256"]
        self.replaces: Sequence[str] = body.get("replaces") or ()
        self.file = file

    def is_there(self, copy: str) -> str:
        """What a copy of an artifact is: `same`, `older`, which may be overwritten, `foreign`."""
        found = hash_of(copy)
        if found == self.sha256:
            return "same"
        size = os.path.getsize(copy)
        # The beginning of ours is an upload that was cut short.
        begun = size < self.size and found == hash_of(self.file, size)
        return "older" if begun or found in self.replaces else "foreign"


class Artifacts:
    """Those of one MLflow run."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def put(self, document: Document, paths: Sequence[str]) -> Optional[str]:
        """Puts it at the first of these that is free or ours; the last is ours by its name.

        The path where it lies; None where even the last is taken, by a folder.
        """
        for path in paths:
            if self._settle(document, path, path == paths[-1]):
                return path
        return None

    def entries(self, folder: str) -> List[Any]:
        """What lies in a folder that is there."""
        return list(self._client.list_artifacts(self._run_id, folder or None))

    def read(self, path: str) -> bytes:
        """A whole artifact."""
        with tempfile.TemporaryDirectory(prefix="lezea-monitor-") as folder:
            with open(self._client.download_artifacts(self._run_id, path, folder), "rb") as file:
                return file.read()

    def write(self, path: str, data: bytes) -> None:
        """In the place of whatever is there."""
        with tempfile.TemporaryDirectory(prefix="lezea-monitor-") as folder:
            copy = os.path.join(folder, posixpath.basename(path))
            with open(copy, "wb") as file:
                file.write(data)
            self._upload(copy, path)

    def _settle(self, document: Document, path: str, is_ours: bool) -> bool:
        found = self.look(path)
        if found == "folder":
            return False
        if found != "nothing":
            there = self._compare(document, path, found)
            if there == "same":
                return True
            if there == "foreign" and not is_ours:
                return False
        self._upload(document.file, path)
        return True

    def look(self, path: str) -> Any:
        """What the store says of the file; or `nothing`, or `folder`, which is in the way.

        From the root down: stores differ in what they say of what is not there.
        """
        names = path.split("/")
        folder: List[str] = []
        for name in names:
            listed = self.entries("/".join(folder))
            entries = [entry for entry in listed if posixpath.basename(entry.path) == name]
            if not entries:
                return "nothing"
            folder.append(name)
            is_last = len(folder) == len(names)
            if is_last and not entries[0].is_dir:
                return entries[0]
            if is_last or not entries[0].is_dir:
                return "folder"
        return "folder"

    def _compare(self, document: Document, path: str, entry: Any) -> str:
        most = max(document.size, MAX_REPLACED_BYTES if document.replaces else 0)
        if entry.file_size is not None and int(entry.file_size) > most:
            return "foreign"
        with tempfile.TemporaryDirectory(prefix="lezea-monitor-") as folder:
            return document.is_there(self._client.download_artifacts(self._run_id, path, folder))

    def _upload(self, file: str, path: str) -> None:
        """The client names an artifact as the file is called."""
        self._client.log_artifact(self._run_id, file, posixpath.dirname(path) or None)


def hash_of(file: str, size: Optional[int] = None) -> str:
    """SHA-256 of a file, or of its first bytes; lower-case hexadecimal."""
    digest = hashlib.sha256()
    left = os.path.getsize(file) if size is None else size
    with open(file, "rb") as stream:
        while left > 0:
            piece = stream.read(min(left, 1 << 20))
            if not piece:
                break
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()
