"""What waits to be sent: bounded, so that a slow or missing agent costs memory once, not forever.

Owns the queue of encoded lines and the sums of progress reports that were not sent yet. Any
thread puts in; the connection's thread (link.py) takes out. The lock is never held during IO.
"""

import collections
import threading
from typing import Any, Callable, Deque, Dict, List, Optional

from .wire import MAX_REQUEST, encode

MAX_BYTES = 4 * 1024 * 1024  # of queued lines
MAX_PROGRESS = 1000  # scopes with progress that was not sent yet


class Outbox:
    """Lines in order; progress reports of one scope are added up while they wait."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.dropped = 0  # notifications that did not fit or could not be encoded
        self._wake = wake
        self._lines: Deque[bytes] = collections.deque()
        self._bytes = 0
        self._progress: Dict[Optional[str], List[float]] = {}
        # Re-entrant: a signal handler may report something while its thread is in here.
        self._lock = threading.RLock()

    def notify(self, method: str, params: Dict[str, Any], limit: int = MAX_REQUEST) -> None:
        """Queues a notification of at most `limit` bytes, or counts it as dropped."""
        line = encode({"jsonrpc": "2.0", "method": method, "params": params})
        self.put(None if line is None or len(line) > limit else line)

    def put(self, line: Optional[bytes]) -> bool:
        """Queues an encoded line; False when it was dropped."""
        with self._lock:
            if line is None or self._bytes + len(line) > MAX_BYTES:
                self.dropped += 1
                return False
            self._lines.append(line)
            self._bytes += len(line)
        self._wake()
        return True

    def take(self) -> Optional[bytes]:
        """The next line to send."""
        with self._lock:
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._bytes -= len(line)
            return line

    def add_progress(self, scope: Optional[str], steps: float, episodes: float) -> None:
        """Adds to what is reported for `scope` next time."""
        with self._lock:
            sums = self._progress.get(scope)
            if sums is None and len(self._progress) >= MAX_PROGRESS:
                self.dropped += 1
                return
            if sums is None:
                sums = self._progress[scope] = [0, 0]
            sums[0] += steps
            sums[1] += episodes
        self._wake()

    @property
    def has_progress(self) -> bool:
        return bool(self._progress)

    def queue_progress(self, run_id: str) -> None:
        """Turns the sums into lines."""
        with self._lock:
            progress, self._progress = self._progress, {}
            for scope, (steps, episodes) in progress.items():
                params: Dict[str, Any] = {"run_id": run_id}
                if scope:
                    params["scope"] = scope
                if steps:
                    params["steps"] = steps
                if episodes:
                    params["episodes"] = episodes
                self.notify("run.progress", params)
