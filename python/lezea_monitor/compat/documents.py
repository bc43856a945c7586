"""A run's documents, as the agent has them: the summary and the cost of now, or of its end.

Asks over the run's own connection while it is recorded, over one of its own afterwards. Emits what
was in the JSON; None where there is no such document, or no answer in time.
"""

import base64
import json
import logging
import time
from typing import Any, Dict, Optional

log = logging.getLogger("lezea_monitor")

SUMMARY = "resources/summary.json"
ENVIRONMENT = "environment/full.json"
CONSTRAINTS = "constraints/constraints.json"
COST = "business/cost_analysis_summary.json"

WAIT_SECONDS = 5.0  # for a whole document


def document(run: Any, file: str) -> Optional[Dict[str, Any]]:
    """One document of the run. Waits for the agent, 5 s at most."""
    data = bytearray()
    try:
        with Agent(run) as agent:
            while True:
                wanted = {"run_id": run.id, "file": file, "offset": len(data)}
                piece = agent.ask("run.get", wanted)
                data += base64.b64decode(piece["data"])
                if piece["eof"] is True:
                    break
        found = json.loads(data)
        return found if isinstance(found, dict) else None
    except Exception as error:  # no agent, no such document, no answer in time, not ours
        log.debug("%s: %r", file, error)
        return None


def environment(run: Any) -> Optional[Dict[str, Any]]:
    """What the node is made of and what it runs, as it is now."""
    try:
        with Agent(run) as agent:
            return agent.ask("node.inventory", {})
    except Exception as error:
        log.debug("node.inventory: %r", error)
        return None


class Agent:
    """Whom to ask. Raises Unavailable where there is nobody."""

    def __init__(self, run: Any) -> None:
        from ..asking import Asker  # needs Linux
        from ..wire import Unavailable

        self._deadline = time.monotonic() + WAIT_SECONDS
        self._asker: Optional[Asker] = None
        self._link = getattr(run, "_link", None)
        if self._link is None:
            raise Unavailable("no agent")
        if run.active:
            self._link.start()
        else:
            self._asker = Asker(self._link.address, self._deadline)

    def ask(self, method: str, params: Dict[str, Any]) -> Dict[str, Any]:
        if self._asker is not None:
            return self._asker.ask(method, params, self._deadline)
        left = max(0.1, self._deadline - time.monotonic())
        reply: Dict[str, Any] = self._link.request(method, params, left)
        return reply

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._asker is not None:
            self._asker.close()
