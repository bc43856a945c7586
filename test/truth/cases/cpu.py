"""CPU of a run against its cgroup, and of scopes against the clocks of their threads."""

from harness.registry import case
from harness.truth import TICK_SECONDS, Truth


@case("cpu_mixed")
def mixed(truth: Truth) -> None:
    """8 busy threads, 4 forked workers, idle threads: the run's CPU is its cgroup's."""
    run_id = truth.run_id()
    said = truth.start("mixed", run_id, leaf=truth.leaf()).finish()
    document = truth.document(run_id)
    truth.within(
        "run CPU, cgroup cpu.stat", said["cgroup"], said["agent"], "s",
        share=0.005, absolute=TICK_SECONDS * said["running"],
    )  # fmt: skip
    final = document.total("cpu_seconds")
    at_end = said["agent_before"] + said["agent"]
    truth.within("the document's total is run.end's", at_end, final, "s")
    for i, used in enumerate(said["threads"]):
        scope = document.scope("thread:%d" % i, "cpu_seconds")
        truth.points("scope of busy thread %d, its clock" % i, used, scope, said["cgroup"])
    truth.within("lost records", 0, document.lost_events, "")


@case("cpu_alternate")
def alternate(truth: Truth) -> None:
    """Two scopes of one thread, changing every 100 µs, 70 to 30: within 1 point."""
    run_id = truth.run_id()
    said = truth.start("alternate", run_id, 5).finish()
    document = truth.document(run_id)
    paths = ["part:a", "part:b"]
    measured = [document.scope(path, "cpu_seconds") or 0.0 for path in paths]
    for i, path in enumerate(paths):
        shares = sorted(said[edge][i] / sum(said[edge]) * 100 for edge in ("inner", "outer"))
        truth.between("%s of both, the thread's clock" % path, *shares,
                      measured[i] / sum(measured) * 100, "%", absolute=1.0)  # fmt: skip
        truth.between("%s, the clock inside and outside" % path, said["inner"][i],
                      said["outer"][i], measured[i], "s",
                      absolute=0.01 * sum(said["outer"]))  # fmt: skip
        activations = document.scope(path, "activations")
        truth.within("activations of %s" % path, said["stays"], activations, "")
    truth.within("lost records", 0, document.lost_events, "")


@case("cpu_two_threads")
def two_threads(truth: Truth) -> None:
    """Two threads in two scopes with different loads: within 1 point."""
    run_id = truth.run_id()
    said = truth.start("two_threads", run_id).finish()
    document = truth.document(run_id)
    for name in ("busy", "light"):
        truth.points("scope %s, the thread's clock" % name, said[name],
                     document.scope("thread:" + name, "cpu_seconds"),
                     said["busy"] + said["light"])  # fmt: skip


@case("cpu_pool_threads")
def pool_threads(truth: Truth) -> None:
    """Native pool threads that announce nothing follow their process's scope."""
    run_id = truth.run_id()
    said = truth.start("pool", run_id).finish()
    document = truth.document(run_id)
    for name in ("a", "b"):
        scope = document.scope("part:" + name, "cpu_seconds")
        truth.points("scope %s, the process's clock" % name, said[name], scope,
                     said["a"] + said["b"])  # fmt: skip
    truth.holds("native threads were made", said["native_threads"] > 10)


@case("cpu_native_block")
def native_block(truth: Truth) -> None:
    """A scope first entered right before native code that holds the GIL for 2 s keeps its CPU."""
    run_id = truth.run_id()
    said = truth.start("native_block", run_id).finish()
    document = truth.document(run_id)
    truth.points("the scope, the process's clock", said["used"],
                 document.scope("part:native", "cpu_seconds"), said["used"])  # fmt: skip
