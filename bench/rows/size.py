"""Cost against size: ticks, checkpoints and scrapes of ever more, and memory under a flood.

A slope is the cost's growth per growth of the size, on logarithms: 1 is linear; it may not be more
(1.15: caches end somewhere).
"""

import math
import statistics
from typing import Dict, List

from benchlib.figures import Report
from benchlib.programs import native, node

MOST_SLOPE = 1.15
FLOOD_RECORDS_PER_SECOND = 50_000
# An hour's worth; --quick takes a minute's.
FLOOD_SECONDS = 3600


def measure(report: Report) -> None:
    for what, sizes in (("processes", (10, 100, 1000)), ("threads", (10, 200, 1600))):
        costs = {size: native("size", what, size)["tick"] for size in sizes}
        _table(report, "a tick, %d " + what, "us CPU", _scaled(costs, 1e-3))
    costs = {}
    for per_second in (1_000, 10_000, 100_000):
        found = native("size", "events", per_second)
        if found["lost"][0]:
            raise RuntimeError("%d records were lost at %d/s" % (found["lost"][0], per_second))
        costs[per_second] = found["second"]
    _table(report, "a second of %d records", "ms CPU", _scaled(costs, 1e-6))
    seconds = report.seconds / 2
    for what, script, scale in (("checkpoint", "checkpoint.mjs", 1), ("scrape", "scrape.mjs", 5)):
        costs = {size: node(script, size * scale, seconds)["ours"] for size in (10, 1000, 10_000)}
        _table(report, "a " + what + " of %d scopes", "ms CPU", costs)
    _flood(report)


def _scaled(costs: Dict[int, List[float]], factor: float) -> Dict[int, List[float]]:
    return {size: [value * factor for value in values] for size, values in costs.items()}


def _table(report: Report, what: str, unit: str, costs: Dict[int, List[float]]) -> None:
    sizes = sorted(costs)
    for size in sizes:
        report.alone(what % size, unit, costs[size])
    for small, large in zip(sizes, sizes[1:]):
        growth = statistics.median(costs[large]) / statistics.median(costs[small])
        slope = math.log(growth) / math.log(large / small)
        report.alone((what % large) + ": slope", "", [slope], at_most=MOST_SLOPE)


def _flood(report: Report) -> None:
    seconds = FLOOD_SECONDS if report.seconds >= 3 else 60
    found = native("size", "flood", seconds, FLOOD_RECORDS_PER_SECOND, timeout=1800)
    rss_mib = [value / 2**20 for value in found["rss_bytes"]]
    what = "%d s of %d records/s" % (seconds, FLOOD_RECORDS_PER_SECOND)
    report.alone(what + ": lost", "", found["lost"], at_most=0)
    report.alone(what + ": resident at its end", "MiB", rss_mib[-1:])
    grown = max(rss_mib) - rss_mib[1]
    report.alone(what + ": resident, growth after the first 5 %", "MiB", [grown], at_most=2.0)
