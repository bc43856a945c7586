"""Memory: peaks, integrals over time, and what is shared counted once."""

from harness.agent import interval_seconds
from harness.registry import case
from harness.resident import ResidentSampler
from harness.truth import Truth


@case("memory_hold")
def hold(truth: Truth) -> None:
    """A scope that holds 512 MiB for 3 s: peak and byte-seconds within 2 %.

    Memory has no counter: at a lower rate than the default, either edge may lie anywhere within an
    interval, of which a half is counted.
    """
    run_id = truth.run_id()
    workload = truth.start("hold", run_id)
    workload.line()
    with ResidentSampler(workload.pid) as sampler:
        said = workload.finish()
    document = truth.document(run_id)
    truth.within("peak, size of the mapping", said["size"] + said["base"],
                 document.scope("memory:hold", "memory_peak_bytes"), "B", share=0.02)  # fmt: skip
    byte_seconds = sampler.byte_seconds(said["entered"], said["left"])
    edges = said["size"] * interval_seconds() if interval_seconds() > 0.1 else 0.0
    truth.within("byte-seconds, statm every 5 ms", byte_seconds,
                 document.scope("memory:hold", "memory_byte_seconds"), "B·s",
                 share=0.02, absolute=edges)  # fmt: skip


@case("memory_shared")
def shared(truth: Truth) -> None:
    """256 MiB of a parent and four forked idle workers counts about once."""
    run_id = truth.run_id()
    said = truth.start("shared_memory", run_id).finish()
    document = truth.document(run_id)
    truth.within("peak of the run, sum of all Pss", said["sum"],
                 document.total("memory_peak_bytes"), "B", share=0.1)  # fmt: skip
    truth.within("peak of the scope, sum of all Pss", said["sum"],
                 document.scope("memory:shared", "memory_peak_bytes"), "B", share=0.1)  # fmt: skip


@case("memory_vfork")
def vfork(truth: Truth) -> None:
    """A vfork child that hangs before its exec counts nothing of its parent's 256 MiB."""
    run_id = truth.run_id()
    said = truth.start("vfork", run_id).finish()
    document = truth.document(run_id)
    truth.holds("the child was held, and had the parent's RSS",
                said["waited"] > 1 and said["child_rss"] > said["size"])  # fmt: skip
    truth.within("peak of the scope, the parent's Pss", said["alone"],
                 document.scope("memory:vfork", "memory_peak_bytes"), "B", share=0.05)  # fmt: skip
