"""Phases: each has what was used between its edges, and together they are the run."""

from typing import Any, Dict

from harness.document import Document
from harness.registry import case
from harness.truth import TICK_SECONDS, Truth

RUN_SECONDS = 6


def compare(truth: Truth, document: Document, said: Dict[str, Any]) -> None:
    first, *phases = document.raw["phases"]
    names = [phase["name"] for phase in phases]
    truth.holds("every phase, in order", names == list(said["names"]), repr(names))
    for phase, used in zip(phases, said["used"]):
        what = "phase %s, the process's clock" % phase["name"]
        truth.within(what, used, phase["totals"].get("cpu_seconds"), "s", absolute=TICK_SECONDS)
    for column, total in document.raw["totals"].items():
        if column not in document.raw["conservation"] or column == "activations":
            continue
        reckoned = sum(phase["totals"].get(column, 0) for phase in [first, *phases])
        truth.within("all phases, %s" % column, total["value"], reckoned, "", share=1e-9)


@case("phases")
def phases(truth: Truth) -> None:
    """Six phases with scopes inside and across their edges: each within 4 ms of its clock."""
    run_id = truth.run_id()
    said = truth.start("phases", run_id, RUN_SECONDS).finish()
    compare(truth, truth.document(run_id), said)
