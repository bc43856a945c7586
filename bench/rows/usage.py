"""Round trips of run.usage at 1 000 a second, against a bare Node server that answers from memory."""

from benchlib.figures import Report
from benchlib.programs import node
from harness.agent import Agent


def measure(report: Report) -> None:
    agent = Agent()
    try:
        agent.start()
        found = node("usage.mjs", agent.socket, max(2.0, report.seconds))
        agent.stop()
    finally:
        agent.remove()
    ours, echo = sorted(found["ours"]), sorted(found["echo"])
    report.alone("p99 at 1 000/s", "ms", [_share(ours, 0.99)], at_most=2.0)
    report.against(
        "p50 at 1 000/s", "ms", [_share(ours, 0.5)], "bare server", [_share(echo, 0.5)]
    )
    report.against(
        "p99 at 1 000/s", "ms", [_share(ours, 0.99)], "bare server", [_share(echo, 0.99)]
    )
    report.alone("fresh, p50", "ms", found["fresh"], at_most=10.0)
    report.alone("fresh, p99", "ms", [_share(sorted(found["fresh"]), 0.99)])


def _share(values: "list[float]", share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]
