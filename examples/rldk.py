"""An experiment in rldk's files: FOLDER/experiment.json and FOLDER/events.jsonl.

Needs the client, and `lezea-monitor` on the PATH for the events.
"""

import json
import os
import subprocess
import sys
import time

import lezea_monitor as lm
from lezea_monitor.compat import capture_environment, wandb_summary


def rollout(seconds):
    """So much CPU of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def main(folder):
    os.makedirs(folder, exist_ok=True)
    with lm.start_run("rldk-example", tags={"algorithm": "ppo"}) as run:
        for step in range(3):
            with run.scope("phase", "rollout"):
                rollout(0.1)
            run.event("reward", step=step, reward_mean=0.5 + step / 10)
    experiment = {
        "name": "rldk-example",
        "environment": capture_environment(),
        "resources": wandb_summary(run, prefix=""),
    }
    temporary = os.path.join(folder, "experiment.json.part")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(experiment, file, indent=2)
    os.replace(temporary, os.path.join(folder, "experiment.json"))
    if run.id:
        with open(os.path.join(folder, "events.jsonl"), "wb") as file:
            command = ["lezea-monitor", "events", run.id, "--as", "rldk"]
            subprocess.run(command, stdout=file, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
