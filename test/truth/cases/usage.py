"""run.usage while the run goes on."""

from harness.registry import case
from harness.truth import TICK_SECONDS, Truth

THREADS = 3  # that may be running while a clock is read


@case("usage_fresh")
def fresh(truth: Truth) -> None:
    """run.usage with fresh, mid-run: within 1 % of the workload's clocks, never decreasing."""
    run_id = truth.run_id()
    said = truth.start("polling", run_id).finish()
    document = truth.document(run_id)
    for i, (least, whole, most, scope_least, scope, scope_most) in enumerate(said["rounds"]):
        truth.between("run, round %d" % i, least, most, whole, "s",
                      share=0.01, absolute=TICK_SECONDS * THREADS)  # fmt: skip
        truth.between("scope a, round %d" % i, scope_least, scope_most, scope, "s",
                      share=0.01, absolute=TICK_SECONDS)  # fmt: skip
    published = said["published"]
    falls = [b - a for a, b in zip(published, published[1:]) if b < a]
    truth.within("falls among %d answers" % len(published), 0, len(falls), "")
    truth.within("the last answer is the document's", published[-1],
                 document.total("cpu_seconds"), "s")  # fmt: skip
