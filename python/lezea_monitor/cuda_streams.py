"""What the work of CUDA streams is for: in each one, timing events where another scope's begins.

What is between two events is one scope's alone, whatever is nested in what and whichever threads fill
the stream. Emits times in ns; makes no event and records none (cuda_times.py does).
"""

import collections
from typing import Any, Deque, Dict, List, Optional, Tuple

from .tree import Node

NS_PER_MS = 1e6


class Span:
    """A call, or a thread's part of a backward pass; timed while it is in a stream."""

    __slots__ = ("stream", "node")

    def __init__(self) -> None:
        self.stream: "Optional[Stream]" = None
        self.node: Optional[Node] = None  # None: its work is of what is around it


class Stream:
    """One CUDA stream."""

    __slots__ = ("gpu", "device", "handle", "node", "_spans", "_edges")

    def __init__(self, gpu: int, device: int, handle: Any) -> None:
        self.gpu = gpu  # torch's index
        self.device = device  # index into the session's devices
        self.handle = handle  # torch's object
        self.node: Optional[Node] = None  # whose work follows the last edge; None: nobody's, or unknown
        self._spans: List[Span] = []  # the innermost is the last
        # (event, whose work follows it). (None, None): how long the work before took, nobody knows.
        self._edges: Deque[Tuple[Any, Optional[Node]]] = collections.deque()

    def enter(self, span: Span) -> None:
        span.stream = self
        self._spans.append(span)

    def leave(self, span: Span) -> None:
        span.stream = None
        if span in self._spans:
            self._spans.remove(span)

    def leave_all(self) -> None:
        for span in list(self._spans):
            self.leave(span)

    def has(self, span: Span) -> bool:
        return span in self._spans

    def innermost(self) -> Optional[Node]:
        """Whose work is to be given to it now."""
        for span in reversed(self._spans):
            if span.node is not None:
                return span.node
        return None

    def change(self, event: Any, node: Optional[Node]) -> None:
        """After this event, recorded just now, its work is of `node`."""
        self.node = node
        self._edges.append((event, node))

    def lose_track(self) -> None:
        """Work up to the next edge is not timed."""
        self.node = None
        if self._edges and self._edges[-1][0] is not None:
            self._edges.append((None, None))

    def harvest(self, most: int, free: List[Any]) -> Tuple[Dict[Node, int], bool]:
        """Takes out the oldest edges, so many at most, while the GPU has come past what follows them.

        Their events go to `free`. The GPU's time of each scope, ns; and whether more may be done.
        """
        edges, times = self._edges, {}  # type: ignore[var-annotated]
        while most > 0 and len(edges) > 1:
            most -= 1
            (event, node), (end, _) = edges[0], edges[1]
            if node is not None and end is not None:
                if not end.query():
                    return times, False
                ns = round(event.elapsed_time(end) * NS_PER_MS)
                times[node] = times.get(node, 0) + (ns if ns > 0 else 0)
            edges.popleft()
            if event is not None:
                free.append(event)
        return times, most <= 0
