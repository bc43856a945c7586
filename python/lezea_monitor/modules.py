"""Which parts of a torch module are watched, and what their scopes are called.

Reads `named_modules` once. Owns the facts of each watched module; never the module itself.
"""

import itertools
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from .tree import Key, Node

Only = Callable[[str, Any], Any]
MAX_NAMES = 200_000  # that are looked at: modules that share parts may have any number of names


class Part(NamedTuple):
    module: Any
    names: List[str]  # all that `named_modules` has for it; the root's is ""


class Selection:
    """The parts of `root` that are to be watched: outer ones first, where there is no room for all."""

    def __init__(
        self, root: Any, title: str, depth: Optional[int], only: Optional[Only], room: int, base: Any
    ) -> None:
        parts: Dict[int, Part] = {}
        for name, module in _named(root):
            parts.setdefault(id(module), Part(module, [])).names.append(name)
        wanted = [
            part
            for part in parts.values()
            if _is_called(part.module, base)
            and (depth is None or _depth(part) <= depth)
            and (only is None or only(part.names[0], part.module))
        ]
        wanted.sort(key=_depth)
        self.root = object()  # what the names are relative to
        self.found = len(wanted)
        self.parts = wanted[: max(0, room)]
        self.left_out = self.found - len(self.parts)


def _named(root: Any) -> Any:
    try:
        return list(itertools.islice(root.named_modules(remove_duplicate=False), MAX_NAMES))
    except RecursionError:  # a module that is a part of itself
        return list(root.named_modules())


def _is_called(module: Any, base: Any) -> bool:
    """Containers as ModuleList only hold others: nobody calls them."""
    return "forward" in vars(module) or type(module).forward is not base.forward


def _depth(part: Part) -> int:
    return min(name.count(".") + 1 if name else 0 for name in part.names)


class Layer:
    """One watched module."""

    __slots__ = (
        "ident", "module", "level", "keys", "home", "holders", "timers", "_names", "_root", "_title",
    )  # fmt: skip

    def __init__(
        self, module: Any, names: List[str], root: object, title: str, level: str,
        forget: "Callable[[Layer], None]",
    ) -> None:  # fmt: skip
        self.ident = id(module)
        self.module = weakref.ref(module, lambda _: forget(self))
        self.level = level
        self.keys: Dict[Node, Key] = {}  # by the scope that it is called in
        self.home: Optional[Node] = None  # its scope at its last call outside of a backward pass
        self.holders = 0  # how many watches have it
        self.timers = 0  # how many of them with cuda=True
        self._names = names
        self._root = root
        self._title = title

    def name_in(self, caller: "Optional[Layer]") -> str:
        """Its name below the module that calls it; the whole one where that does not contain it."""
        if caller is not None and caller._root is self._root:
            for outer in caller._names:
                prefix = outer + "." if outer else ""
                for name in self._names:
                    if name and name != outer and name.startswith(prefix):
                        return name[len(prefix) :]
        return self._names[0] or self._title
