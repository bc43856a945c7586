"""Short-lived children: what they used is in the run, whoever reaps them."""

from harness.registry import case
from harness.truth import Truth


def compare(truth: Truth, mib: int, ignored: bool) -> None:
    """At least 99 % of the children's CPU, and never more than the cgroup's."""
    run_id = truth.run_id()
    said = truth.start("children", run_id, mib, int(ignored), leaf=truth.leaf()).finish()
    document = truth.document(run_id)
    truth.ratio("run CPU, cgroup cpu.stat", said["cgroup"], said["agent"], 0.99, 1.0)
    own = said["own"]
    children = said["agent"] - own
    truth.ratio("the children's part of it", said["cgroup"] - own, children, 0.99, 1.0)
    # The parent is in the scope from just before the first reading to the end.
    scope = document.scope("phase:children", "cpu_seconds")
    truth.ratio("scope of the parent and its children", said["agent"], scope, 0.99, 1.01)


@case("children_plain")
def plain(truth: Truth) -> None:
    """1000 children of 2 ms: at least 99 % of their CPU, never above the cgroup's."""
    compare(truth, 0, False)


@case("children_resident")
def resident(truth: Truth) -> None:
    """The same with 200 MiB resident in the parent (tearing down is half of the cost)."""
    compare(truth, 200, False)


@case("children_ignored")
def ignored(truth: Truth) -> None:
    """The same with SIGCHLD ignored: no parent ever reaps them."""
    compare(truth, 0, True)


@case("children_shared_cgroup")
def shared(truth: Truth) -> None:
    """Plain, but with a stranger in the cgroup, which the agent can then not go by."""
    run_id = truth.run_id()
    leaf = truth.leaf()
    truth.start("sleeper", leaf=leaf).line()
    said = truth.start("children", run_id, 0, 0, leaf=leaf).finish()
    truth.document(run_id)
    truth.ratio("run CPU, cgroup cpu.stat", said["cgroup"], said["agent"], 0.99, 1.0)
    own = said["own"]
    truth.ratio("the children's part of it", said["cgroup"] - own, said["agent"] - own, 0.99, 1.0)
