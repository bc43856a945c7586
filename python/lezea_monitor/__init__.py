"""lezea_monitor: says which part of a training program is running; the agent measures its cost.

    import lezea_monitor as lm

    with lm.start_run(experiment="demo") as run:
        with run.builder("b0"), run.tasker("t3"):
            ...
        print(run.usage("builder:b0/tasker:t3").cpu_seconds)

Standard library only. Without an agent every call does nothing, after one warning.
"""

from typing import TYPE_CHECKING, Any

from .accel import native as _native
from .client import monitored, start_run
from .limits import OverBudget
from .usage import Columns, Usage
from .version import VERSION as __version__

if TYPE_CHECKING:
    from .node_check import preflight

ACCELERATED = _native is not None  # whether the C accelerator does the recording

__all__ = [
    "ACCELERATED",
    "Columns",
    "OverBudget",
    "Usage",
    "__version__",
    "monitored",
    "preflight",
    "start_run",
]


def __getattr__(name: str) -> Any:
    """`preflight`, at its first use: training processes do without it, and without its import."""
    if name != "preflight":
        raise AttributeError("module %r has no attribute %r" % (__name__, name))
    from .node_check import preflight

    globals()[name] = preflight
    return preflight
