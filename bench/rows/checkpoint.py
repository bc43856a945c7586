"""A checkpoint of changed scopes, against better-sqlite3 alone writing the same bytes.

CPU time, for the event loop is held as long as nobody else wants the core.
"""

from benchlib.figures import Report
from benchlib.programs import node

BUDGET_MS = {1600: 2.0, 10_000: 12.0}


def measure(report: Report) -> None:
    for scopes, budget_ms in BUDGET_MS.items():
        found = node("checkpoint.mjs", scopes, report.seconds)
        what = "checkpoint of %d live scopes" % scopes
        report.alone(what, "ms CPU", found["ours"], at_most=budget_ms)
        report.against(what, "ms CPU", found["ours"], "the same pages alone", found["pages"])
        cells = found["cells"]
        report.against(what, "ms CPU", found["ours"][: len(cells)], "a row for every column", cells)
