"""What a component has really used, for trackers that were told percents.

Reads run.usage of every scope of that level and name; owns the figures of the last question, so that
each answer is of the time since. MB is 10⁶ bytes.
"""

import time
from typing import Any, Dict, List, Optional, Tuple

from ..names import clean_level, encode_name
from .usages import Columns, usages


class Components:
    """The components of one run, by (type, id)."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._begun = time.monotonic()
        tree = getattr(run, "_tree", None)
        self._earlier = {node.path for node in (tree.nodes if tree else ())}
        self._last: Dict[Tuple[str, str], Tuple[float, Columns]] = {}

    def figures(self, kind: object, name: object) -> Optional[Columns]:
        """LeZeA's four, as far as they are known; None where the run has no such scope.

        Of a scope from before this object, nothing is known before the second question.
        """
        key = (clean_level(kind), encode_name(name)[0])
        paths = self._paths(*key)
        if not paths:
            return None
        used = self._used(paths)
        if not used:
            return {}  # no answer: the next one is of the time since the last
        now = time.monotonic()
        since, before = self._last.get(key, (self._begun, None))
        self._last[key] = (now, used)
        if before is None:  # what was before the first question has to be of the time since, too
            before = {} if self._earlier.intersection(paths) else dict.fromkeys(used, 0.0)
        seconds = max(now - since, 1e-9)
        delta = {name: max(0.0, used[name] - before[name]) for name in used if name in before}
        found = {}
        if "cpu_seconds" in delta:
            found["cpu_percent"] = delta["cpu_seconds"] / seconds * 100
        if "memory_byte_seconds" in delta:
            found["memory_mb"] = delta["memory_byte_seconds"] / seconds / 1e6
        if "gpu_active_seconds" in delta:
            found["gpu_util_percent"] = delta["gpu_active_seconds"] / seconds * 100
        if "io_read_ops" in delta and "io_write_ops" in delta:
            found["io_operations"] = delta["io_read_ops"] + delta["io_write_ops"]
        return found

    def _paths(self, level: str, name: str) -> List[str]:
        """Outermost ones only: what lies in another of the same name is in its figures."""
        tree = getattr(self._run, "_tree", None)
        nodes = [] if tree is None else list(tree.nodes)
        found = [
            node for node in nodes if node.key and (node.key.level, node.key.name) == (level, name)
        ]
        step = "%s:%s" % (level, name)
        return [node.path for node in found if step not in node.path.split("/")[:-1]]

    def _used(self, paths: List[str]) -> Columns:
        """What all of them have used; only columns that every one knows."""
        known = usages(self._run, paths)
        if len(known) < len(paths):
            return {}
        first, *rest = known.values()
        return {
            name: value + sum(columns[name] for columns in rest)
            for name, value in first.items()
            if all(name in columns for columns in rest)
        }
