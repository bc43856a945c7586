"""What a case gets: an agent, workloads, cgroups, and ways to compare.

Owns everything that a case starts, and ends it after the case. The agent is shared by the cases
that do not kill it: that is how it is used.
"""

import contextlib
import json
import time
from typing import Any, Iterator, List, Optional

from .agent import Agent, interval_seconds
from .cgroup import Leaf, NoCgroup
from .document import Document
from .manager import Manager
from .registry import Skip
from .table import Row, Table
from .workload import Workload

TICK_SECONDS = 0.004  # the kernel's, at 250 Hz: how stale a running thread's clock can be

END_SECONDS = 10  # until a run whose processes have all ended must be over


class Truth:
    """One case's hands. `run_id` names make the case's runs unique to it."""

    def __init__(self, case: str, table: Table, shared: "SharedAgent") -> None:
        self.case = case
        self._table = table
        self._shared = shared
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Truth":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    @property
    def agent(self) -> Agent:
        return self._shared.get()

    def own_agent(self, *settings: str) -> Agent:
        """An agent that this case may kill; settings: KEY=VALUE."""
        return self.later_agent(*settings).start()

    def later_agent(self, *settings: str) -> Agent:
        """The same, not started yet: what is to be there before it can be."""
        agent = Agent(list(settings))
        self._stack.callback(agent.remove)
        return agent

    def service(self, *settings: str) -> Agent:
        """One that a service manager starts, who keeps its descriptors while there is none."""
        manager = Manager()
        self._stack.callback(manager.remove)
        agent = Agent(list(settings), manager)
        self._stack.callback(agent.remove)
        return agent.start()

    def run_id(self, name: str = "") -> str:
        return self.case + ("." + name if name else "")

    def leaf(self, name: str = "") -> Leaf:
        """A cgroup for a workload; skips the case where none can be had."""
        try:
            leaf = Leaf(self.run_id(name))
        except NoCgroup as error:
            raise Skip("no cgroup to measure with: %s" % error) from error
        self._stack.callback(leaf.remove)
        return leaf

    def start(
        self,
        script: str,
        *arguments: object,
        leaf: Optional[Leaf] = None,
        agent: Optional[Agent] = None,
        command: Optional[List[str]] = None,
    ) -> Workload:
        socket = (agent or self.agent).socket
        workload = Workload(script, [str(a) for a in arguments], socket, leaf, command)
        self._stack.callback(workload.kill)
        return workload

    def document(
        self, run_id: str, agent: Optional[Agent] = None, status: str = "FINISHED"
    ) -> Document:
        """The run's document, after rows that say whether it ended so and its sums are right."""
        agent = agent or self.agent
        self._wait_for_end(agent, run_id)
        document = Document(agent.show(run_id))
        self.holds("%s: status %s" % (run_id, status), document.status == status, document.status)
        violations = document.violations()
        row = Row(self.case, "%s: residual, all columns" % run_id, "")
        row.expected, row.measured, row.error = 0, len(violations), len(violations)
        row.bound, row.ok = "0 columns", not violations
        row.error_unit = "; ".join(violations[:3])
        self._table.add(row)
        return document

    def tail_seconds(self) -> float:
        """CPU of a process's end that nobody can know: what follows the last sample of it.

        None with exit records. Without them, and reaped at once by somebody outside of the run,
        what a busy thread can use in one sampling interval.
        """
        return 0.0 if self.agent.source("exit_records")["state"] == "ok" else interval_seconds()

    def _wait_for_end(self, agent: Agent, run_id: str) -> None:
        """A run ends with its last process, a moment after the last word of its client."""
        deadline = time.monotonic() + END_SECONDS
        while agent.ask("run.get", {"run_id": run_id})["status"] in ("RUNNING", "FINISHING"):
            if time.monotonic() > deadline:
                return  # the row of the status will say so
            time.sleep(0.05)

    # Comparisons. `measured` is None where the agent gave no figure, which is a failure.

    def within(
        self, what: str, expected: float, measured: Optional[float], unit: str,
        share: float = 0.0, absolute: float = 0.0,
    ) -> None:  # fmt: skip
        """|measured − expected| ≤ the larger of a share of what is expected and `absolute`."""
        allowed = max(share * abs(expected), absolute)
        row = Row(self.case, what, unit, expected, measured)
        bounds = [_percent(share)] if share else []
        bounds += ["%g %s" % (absolute, unit)] if absolute else []
        row.bound = " or ".join(bounds) or "exact"
        if measured is not None:
            row.error = (measured - expected) / expected * 100 if expected else measured
            row.error_unit = "%" if expected else unit
            if not share:
                row.error, row.error_unit = measured - expected, unit
        row.ok = measured is not None and abs(measured - expected) <= allowed
        self._add(row)

    def points(
        self, what: str, expected: float, measured: Optional[float],
        whole: float, bound: float = 1.0,
    ) -> None:  # fmt: skip
        """Within `bound` percentage points of `whole` (CPU seconds, by an independent clock)."""
        row = Row(self.case, what, "s", expected, measured)
        row.bound, row.error_unit = "%g points" % bound, "points"
        if measured is not None:
            row.error = (measured - expected) / whole * 100
            row.ok = abs(row.error) <= bound
        self._add(row)

    def between(
        self, what: str, least: float, most: float, measured: Optional[float], unit: str,
        share: float = 0.0, absolute: float = 0.0,
    ) -> None:  # fmt: skip
        """Within a bracket of two readings, or no further outside than the bound."""
        nearest = least if measured is None else min(max(measured, least), most)
        self.within(what, nearest, measured, unit, share, absolute)

    def ratio(
        self, what: str, expected: float, measured: Optional[float], least: float, most: float
    ) -> None:
        """measured / expected lies in [least, most]."""
        row = Row(self.case, what, "s", expected, measured)
        row.bound, row.error_unit = "%+g … %+g %%" % (least * 100 - 100, most * 100 - 100), "%"
        if measured is not None and expected > 0:
            row.error = (measured / expected - 1) * 100
            row.ok = least <= measured / expected <= most
        self._add(row)

    def holds(self, what: str, true: bool, said: str = "") -> None:
        """A yes or no; `said` is what was seen instead."""
        row = Row(self.case, what, "", 1, int(true), int(true) - 1, said if not true else "")
        row.bound, row.ok = "holds", true
        self._add(row)

    def skip(self, what: str, why: str) -> None:
        """One comparison of this case cannot be made here."""
        self._table.add(Row(self.case, what, "", skipped=why))

    def _add(self, row: Row) -> None:
        if row.measured is None:
            row.failed, row.ok = "the agent gave no figure", False
        self._table.add(row)


class SharedAgent:
    """Started at its first use, and anew after a death, which is a failure of that case."""

    def __init__(self) -> None:
        self._agent: Optional[Agent] = None
        self._errors_seen = 0

    def get(self) -> Agent:
        if self._agent is None or not self._agent.alive:
            if self._agent is not None:
                self._agent.remove()
            self._agent = Agent().start()
            self._errors_seen = 0
        return self._agent

    def check(self) -> Optional[str]:
        """What is wrong with it, if it was started: it died, or it logged an error."""
        if self._agent is None:
            return None
        if not self._agent.alive:
            return "the agent died:\n" + self._agent.log_tail()
        bad = [line for line in self._agent.log_lines() if _is_error(line)]
        new, self._errors_seen = bad[self._errors_seen :], len(bad)
        return "\n".join(new[:5]) or None

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Ends it in order at the end; always removes its folder."""
        try:
            yield
            if self._agent is not None and self._agent.alive:
                self._agent.stop()
        finally:
            if self._agent is not None:
                self._agent.remove()


def _is_error(line: str) -> bool:
    try:
        return json.loads(line).get("level") in ("error", "fatal")
    except json.JSONDecodeError:
        return True  # Node's own last words


def _percent(share: float) -> str:
    return "%g %%" % (share * 100)
