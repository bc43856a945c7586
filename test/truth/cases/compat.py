"""The drop-ins for other trackers: their figures are the kernel's too."""

from harness.registry import case
from harness.truth import TICK_SECONDS, Truth

HOUR = 3600


@case("compat_parts")
def parts(truth: Truth) -> None:
    """LeZeA's ResourceLogger: parts of one process share it, none counts it twice; a child's is its own."""
    run_id = truth.run_id()
    said = truth.start("parts", run_id).finish()
    truth.document(run_id)
    totals = said["totals"]
    tasker, model, worker = totals["tasker#0"], totals["org/model"], totals["worker"]
    allowed = {"share": 0.02, "absolute": 2 * TICK_SECONDS}
    truth.within("tasker#0: alone, and half of what was shared", said["alone"] + said["shared"] / 2,
                 tasker["cpu_h"] * HOUR, "s", **allowed)  # fmt: skip
    truth.within("org/model: half of what was shared, and alone", said["other"] + said["shared"] / 2,
                 model["cpu_h"] * HOUR, "s", **allowed)  # fmt: skip
    truth.within("worker: the other process", said["child"], worker["cpu_h"] * HOUR, "s", **allowed)
    together = said["alone"] + said["shared"] + said["other"]
    truth.within("both parts: the process, once", together,
                 (tasker["cpu_h"] + model["cpu_h"]) * HOUR, "s", **allowed)  # fmt: skip
    # 100 MB were resident all the time, beside the interpreter's own; twice that would be wrong.
    held = (tasker["mem_gb_h"] + model["mem_gb_h"]) * 1e9 * HOUR / said["seconds"]
    truth.between("both parts' memory", 90e6, 140e6, held, "B")
    truth.holds("org/model's sample is its total", all(
        abs(said["samples"]["org/model"][key] - model[key]) <= max(0.05 * model[key], 1e-6)
        for key in ("cpu_h", "io_bytes")
    ), str((said["samples"]["org/model"], model)))  # fmt: skip
    truth.holds("no GPU is known: no gpu_h", not said["gpu"], str(said["gpu"]))


@case("compat_pair")
def pair(truth: Truth) -> None:
    """A part of one name in two processes of one run: each has its own process's."""
    run_id = truth.run_id()
    said = truth.start("parts_pair", run_id).finish()
    truth.document(run_id)
    for which in ("first", "second"):
        truth.within("the %s process's part" % which, said[which]["burnt"], said[which]["part"],
                     "s", share=0.02, absolute=2 * TICK_SECONDS)  # fmt: skip


RATE = 3.6  # of a core hour: a thousandth of the currency each second


@case("compat_attach")
def attach(truth: Truth) -> None:
    """A tracker of LeZeA's shape: scopes, components, totals and cost are what the clocks say."""
    agent = truth.own_agent("cost.cpu_per_core_hour=%g" % RATE)
    run_id = truth.run_id()
    said = truth.start("tracked", run_id, agent=agent).finish()
    document = truth.document(run_id, agent)
    tasker = "builder:b0/tasker:tasker#0"
    layer = "builder:b0/network:org%2Fmodel/layer:3"
    allowed = {"share": 0.02, "absolute": 2 * TICK_SECONDS}
    for path, name in ((tasker, "tasker"), (layer, "layer")):
        truth.within("%s in its summary" % path, said["burnt"][name], said["cpu"][path], "s", **allowed)
    for name in ("tasker", "layer"):
        measured = said["percent"][name] / 100 * said["seconds"]
        truth.within("%s, of its percents" % name, said["burnt"][name], measured, "s",
                     share=0.1, absolute=0.05)  # fmt: skip
    truth.within("cpu_hours that it was given, not those it gave", said["process"],
                 said["hours"] * HOUR, "s", share=0.15, absolute=0.1)  # fmt: skip
    cost = (document.total("cpu_seconds") or -1) / HOUR * RATE
    truth.within("what it cost", cost, said["cost"], "EUR", share=0.2)
