"""A run without an agent: the same calls, which do nothing and cost next to nothing."""

import logging
from typing import Any, Callable, Dict, List, Optional, Set

from .usage import Usage

log = logging.getLogger("lezea_monitor")
_warned: Set[str] = set()


def warn_once(kind: str, text: str, *values: object) -> None:
    """One warning of each kind in the process's life."""
    if kind not in _warned:
        _warned.add(kind)
        log.warning("lezea-monitor: " + text, *values)


class NoScope:
    """One object stands for every scope."""

    __slots__ = ()

    def __enter__(self) -> "NoScope":
        return self

    def __exit__(self, exc_type: Any, exc: Any, traceback: Any) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function


_SCOPE = NoScope()


class NoWatch:
    """What `run.watch` returns where nothing is watched."""

    def remove(self) -> None:
        return None

    def __enter__(self) -> "NoWatch":
        return self

    def __exit__(self, exc_type: Any, exc: Any, traceback: Any) -> None:
        return None


class NoRun:
    """What `start_run` returns when nothing can be recorded."""

    created = False
    active = False
    dropped = 0

    def __init__(self, run_id: str = "") -> None:
        self.id = run_id

    def builder(self, name: object) -> NoScope:
        return _SCOPE

    tasker = algorithm = network = layer = builder

    def scope(self, level: object, name: object) -> NoScope:
        return _SCOPE

    scoped = scope

    def watch(
        self, module: Any, name: object = None, *, level: object = "layer", depth: Optional[int] = None,
        only: Optional[Callable[[str, Any], Any]] = None, cuda: bool = False,
    ) -> NoWatch:  # fmt: skip
        return NoWatch()

    def phase(self, name: object) -> None:
        return None

    def event(self, name: object, **data: Any) -> None:
        return None

    def facts(self, **facts: Any) -> None:
        return None

    def progress(self, steps: float = 0, episodes: float = 0) -> None:
        return None

    def usage(self, path: Optional[str] = None, fresh: bool = False) -> Usage:
        """Nothing is known: every column is None."""
        return Usage({})

    should_stop = False

    @property
    def limits(self) -> List[Dict[str, Any]]:
        """Nobody holds anything against a limit."""
        return []

    def set_limits(self, limits: Dict[str, Any]) -> bool:
        return False

    def end(self, status: str = "FINISHED", reason: Optional[str] = None) -> None:
        return None

    def __enter__(self) -> "NoRun":
        return self

    def __exit__(self, exc_type: Any, exc: Any, traceback: Any) -> None:
        return None


class JoinedRun:
    """What an inner `start_run` returns: the process's run, which its first caller ends."""

    def __init__(self, run: Any) -> None:
        self._run = run
        for level in ("builder", "tasker", "algorithm", "network", "layer"):
            setattr(self, level, getattr(run, level))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def end(self, status: str = "FINISHED", reason: Optional[str] = None) -> None:
        """Does nothing: the run goes on for whoever started it."""

    def __enter__(self) -> "JoinedRun":
        return self

    def __exit__(self, exc_type: Any, exc: Any, traceback: Any) -> None:
        return None

    def __reduce__(self) -> Any:
        return self._run.__reduce__()
