"""A morphogenetic trainer in two phases, on MLflow where it is installed. Needs the client.

MLflow's run gets the totals without a word of ours. Writes phases.json: what each phase has used.
"""

import argparse
import contextlib
import json
import time

import lezea_monitor as lm
from lezea_monitor.compat import Phases

try:
    import mlflow
except ImportError:
    mlflow = None


def epoch(seconds):
    """So much CPU of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=6)
    epochs = parser.parse_args().epochs
    warm_up = epochs // 3
    tracked = mlflow.start_run(run_name="kaslite") if mlflow else contextlib.nullcontext()
    with tracked, lm.start_run("kaslite") as run:
        phases = Phases(run)
        phases.log_phase_transition(0, "init", "phase_1")
        for number in range(epochs):
            if number == warm_up:
                phases.log_phase_transition(number, "phase_1", "phase_2")
            with run.scope("seed", "seed%d" % (number % 2)):
                epoch(0.05)
            run.progress(steps=1)
        with open("phases.json", "w", encoding="utf-8") as file:
            json.dump(phases.history(), file, indent=2)


if __name__ == "__main__":
    main()
