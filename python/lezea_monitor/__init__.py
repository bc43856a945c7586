"""lezea_monitor: says which part of a training program is running; the agent measures its cost.

    import lezea_monitor as lm

    with lm.start_run(experiment="demo") as run:
        with run.builder("b0"), run.tasker("t3"):
            ...
        print(run.usage("builder:b0/tasker:t3").cpu_seconds)

Standard library only. Without an agent every call does nothing, after one warning.
"""

from .accel import native as _native
from .client import monitored, start_run
from .limits import OverBudget
from .node_check import preflight
from .usage import Columns, Usage
from .version import VERSION as __version__

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
