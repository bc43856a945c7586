"""Drop-ins for the trackers that the agent grew from: their calls and shapes, the agent's figures.

One file per shape; docs/compat.md says who drops in what. Standard library only, like the rest of
the client: nothing here imports a tracker.
"""

from .attach import Attached, attach
from .documents import document
from .kaslite import Phases
from .pixelis import validate_environment
from .resource_logger import ResourceLogger
from .rldk import capture_environment
from .wandb import wandb_summary

__all__ = [
    "Attached",
    "Phases",
    "ResourceLogger",
    "attach",
    "capture_environment",
    "document",
    "validate_environment",
    "wandb_summary",
]
