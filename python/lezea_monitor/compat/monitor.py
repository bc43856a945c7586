"""What stands where LeZeA's GPUMonitor was: the agent measures, so this does nothing but scopes.

The monitor that was there is not called: its lock is not re-entrant, it deadlocks in its first
analysis, and whoever stops it then waits for ever.
"""

from typing import Any, Dict, Optional

LEVELS = ("builder", "tasker", "algorithm", "network", "layer")


class Tracked:
    """`with monitor.track_tasker("t"):` is a scope."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def __enter__(self) -> "Tracked":
        self._scope.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._scope.__exit__(*error)

    def record_operation(self, count: int = 1) -> None:
        """The agent counts what the kernel saw."""

    def get_current_metrics(self) -> Optional[Dict[str, Any]]:
        return None

    get_final_metrics = get_current_metrics


class Monitor:
    """Has every method of a GPUMonitor; what is not here does nothing and returns None."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def ping(self) -> bool:
        return True

    def get_current_usage(self) -> Dict[str, float]:
        """The run's totals so far, by column."""
        return dict(self._run.usage(fresh=True).columns)

    def track_component(self, component_id: object, component_type: Any, *_: Any) -> Tracked:
        level = getattr(component_type, "value", component_type)
        return Tracked(self._run.scope(level, component_id))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        level = name[len("track_") :]
        if name.startswith("track_") and level in LEVELS:
            return lambda component_id, *_: self.track_component(component_id, level)
        return _nothing


def _nothing(*_: Any, **__: Any) -> None:
    return None
