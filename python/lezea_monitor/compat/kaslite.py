"""A morphogenetic trainer's phases: transitions that keep their history, with totals of each.

A tag that is overwritten knows the last phase only; these are the run's own (`run.phase`), and
partition its totals.
"""

import logging
from typing import Any, Dict, List

from .. import client
from .documents import Agent

log = logging.getLogger("lezea_monitor")


class Phases:
    """`record_phase_transition` of its monitor, `log_phase_transition` of its logger."""

    def __init__(self, run: Any = None) -> None:
        """run: what `start_run` returned; default: the process's run, started if need be."""
        self._run = client.start_run() if run is None else run

    def record_phase_transition(self, from_phase: object, to_phase: object) -> None:
        """The run is in `to_phase` from now on; `from_phase` is what it was in, as the agent knows."""
        self._run.phase(to_phase)

    def log_phase_transition(self, epoch: int, from_phase: object, to_phase: object) -> None:
        """The same, with the epoch in the run's audit trail."""
        self._run.phase(to_phase)
        said = {"epoch": epoch, "from_phase": str(from_phase), "to_phase": str(to_phase)}
        self._run.event("transition", **said)

    def history(self) -> List[Dict[str, Any]]:
        """`{name, started_at, ended_at, totals}` of every phase so far; [] where nobody knows.

        `name` is None before the first; the last one has no `ended_at` while it goes on.
        """
        try:
            self._run.usage(fresh=True)  # a sample: the phase that goes on is up to now
            with Agent(self._run) as agent:
                phases: List[Dict[str, Any]] = agent.ask("run.get", {"run_id": self._run.id})["phases"]
                return phases
        except Exception as error:  # no agent, or no answer in time
            log.debug("phases: %r", error)
            return []
