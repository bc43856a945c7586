"""Many threads, and many tasks of one thread, each in a scope of its own."""

from typing import List, Tuple

from harness.document import Document
from harness.registry import case
from harness.truth import Truth

SHARE = 0.04


def compare(
    truth: Truth, document: Document, level: str, used: List[Tuple[float, float]]
) -> None:
    """Every scope within 4 % of its own truth (inside, outside): the worst one is the row."""
    measured = [document.scope("%s:%d" % (level, i), "cpu_seconds") for i in range(len(used))]

    def distance(i: int) -> float:
        nearest = min(max(measured[i] or 0, used[i][0]), used[i][1])
        return abs((measured[i] or 0) - nearest) / nearest

    worst = max(range(len(used)), key=distance)
    truth.between("worst of %d scopes: %s:%d" % (len(used), level, worst), *used[worst],
                  measured[worst], "s", share=SHARE)  # fmt: skip
    sums = [sum(inside_or_out) for inside_or_out in zip(*used)]
    truth.between("all scopes together", sums[0], sums[1],
                  sum(figure or 0 for figure in measured), "s", share=SHARE)  # fmt: skip


@case("threads_250")
def threads(truth: Truth) -> None:
    """250 busy announcing threads in one process: each within 4 %, no record lost."""
    run_id = truth.run_id()
    said = truth.start("many_threads", run_id).finish()
    document = truth.document(run_id)
    compare(truth, document, "thread", said["used"])
    counts = [document.scope("thread:%d" % i, "activations") for i in range(len(said["used"]))]
    wrong = sum(1 for count in counts if count != said["stays"])
    truth.within("scopes whose activations are not %d" % said["stays"], 0, wrong, "")
    truth.within("lost records", 0, document.lost_events, "")
    truth.within("what the client dropped", 0, said["dropped"], "")


@case("asyncio_16")
def tasks(truth: Truth) -> None:
    """16 interleaving asyncio tasks: each within 4 %, no record lost."""
    run_id = truth.run_id()
    said = truth.start("tasks", run_id).finish()
    document = truth.document(run_id)
    compare(truth, document, "part:loop/task", said["used"])
    truth.within("lost records", 0, document.lost_events, "")
    truth.within("what the client dropped", 0, said["dropped"], "")
