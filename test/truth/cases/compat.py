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
