"""Drop-ins for the trackers that the agent grew from: their calls and shapes, the agent's figures.

One file per shape; docs/compat.md says who drops in what. Standard library only, like the rest of
the client: nothing here imports a tracker.
"""

from .attach import Attached, attach
from .resource_logger import ResourceLogger

__all__ = ["Attached", "ResourceLogger", "attach"]
