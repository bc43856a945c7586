"""A scrape of 10 000 series, against prom-client's own rendering of as many."""

from benchlib.figures import Report
from benchlib.programs import node


def measure(report: Report) -> None:
    found = node("scrape.mjs", 10_000, report.seconds)
    report.alone("10 000 series", "ms CPU", found["ours"], at_most=3.0)
    report.against(
        "10 000 series", "ms CPU", found["ours"], "prom-client", found["theirs"], ratio_at_most=1 / 5
    )
