"""The tree of scopes that this process has announced, with the ids it gave them.

Emits nodes to the hot path (scope.py) and definitions to the connection (link.py): each when its
scope is made, before the scope's first record, and all of them again after a reconnect. Owns the
id counter. A node is listed before it can be found, so a parent always precedes its children in
`nodes`.
"""

import itertools
import threading
from typing import Any, Callable, Dict, List, Optional

from . import accel
from .names import clean_level, encode_name

MAX_SCOPES = 10_000  # the agent's limit for a run; what is past it counts on its parent
MAX_DEPTH = 16


class Key:
    """One (level, name); interned, so that looking up a child costs one identity hash."""

    __slots__ = ("level", "name", "label", "folded")

    def __init__(self, level: str, name: str, label: Optional[str], folded: bool) -> None:
        self.level = level
        self.name = name
        self.label = label
        self.folded = folded  # past the limit: scopes of this key count on their parent


class Node(accel.Node):  # type: ignore[misc]
    """A scope: its id on the wire, its path and the children that were entered so far."""

    __slots__ = ("parent", "key", "path", "depth")

    id: int
    kids: "Dict[Key, Node]"

    def __init__(self, id: int, parent: "Optional[Node]", key: Optional[Key]) -> None:
        self.id = id
        self.parent = parent
        self.key = key
        self.kids = {}
        if parent is None or key is None:
            self.path = ""
            self.depth = 0
        else:
            step = key.level + ":" + key.name
            self.path = parent.path + "/" + step if parent.path else step
            self.depth = parent.depth + 1

    def definition(self) -> Dict[str, Any]:
        """The node as an element of `scope.define`."""
        assert self.parent is not None and self.key is not None
        entry: Dict[str, Any] = {
            "id": self.id,
            "parent": self.parent.id,
            "level": self.key.level,
            "name": self.key.name,
        }
        if self.key.label is not None:
            entry["label"] = self.key.label
        return entry


class Tree:
    """Root (id 0) and everything below it."""

    def __init__(self, on_define: Callable[[], None]) -> None:
        self.root = Node(0, None, None)
        self.nodes: List[Node] = []
        self.refused = 0  # entries of scopes that counted on their parent instead
        self._ids = itertools.count(1)
        self._keys: Dict[Any, Key] = {}
        self._on_define = on_define
        self._lock = threading.RLock()  # re-entrant: signal handlers enter scopes too

    def after_fork(self) -> None:
        """In a forked child: a thread that is gone may have held the lock."""
        self._lock = threading.RLock()
        self.refused = 0

    def key(self, level: object, name: object) -> Key:
        """The interned key of any level and any id."""
        word = clean_level(level)
        encoded, label = encode_name(name)
        known = self._keys.get((word, encoded))
        if known is not None:
            return known
        if len(self._keys) >= MAX_SCOPES:
            return Key(word, encoded, label, True)
        return self._keys.setdefault((word, encoded), Key(word, encoded, label, False))

    def child(self, parent: Node, key: Key) -> Node:
        """The scope `key` under `parent`, defined now if it was not."""
        with self._lock:
            node = parent.kids.get(key)
            if node is not None:
                return node
            if key.folded or parent.depth >= MAX_DEPTH or len(self.nodes) >= MAX_SCOPES:
                self.refused += 1
                return parent
            node = Node(next(self._ids), parent, key)
            self.nodes.append(node)
            node = parent.kids.setdefault(key, node)
        self._on_define()
        return node
