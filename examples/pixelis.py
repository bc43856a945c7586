"""Pixelis-shaped training: is the node fit, then a run, then its figures in W&B's summary.

Needs the client; wandb where it is installed (`WANDB_MODE=offline` sends nothing). Prints one line
of JSON: what was checked, and the summary.
"""

import json
import sys
import time

import lezea_monitor as lm
from lezea_monitor.compat import validate_environment, wandb_summary

try:
    import wandb
except ImportError:
    wandb = None


def work(seconds):
    """So much CPU of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def main():
    fit = validate_environment(required_packages=["pip"], min_gpu_memory_gb=0)
    if not fit["is_valid"]:
        sys.exit("\n".join(fit["errors"]))
    tracked = wandb.init(project="pixelis-example") if wandb else None
    with lm.start_run("pixelis-example") as run:
        for phase in ("sft", "rft"):
            run.phase(phase)
            with run.scope("stage", phase):
                work(0.15)
    summary = wandb_summary(run)
    if tracked is not None:
        tracked.summary.update(summary)
        kept = {key: tracked.summary.get(key) for key in summary}
        tracked.finish()
    else:
        kept = None
    print(json.dumps({"fit": fit, "summary": summary, "wandb": kept}))


if __name__ == "__main__":
    main()
