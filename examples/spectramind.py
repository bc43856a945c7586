"""An ablation in SpectraMind's folders: FOLDER/run_<index>_<id>/, leaderboard.csv and .md, events.jsonl.

Needs the client, and `lezea-monitor` on the PATH for the events. Every variant is a run of its own;
the leaderboard has what each took, and what it cost where the agent has prices (`cost.*`).
"""

import csv
import json
import os
import subprocess
import sys
import time

import lezea_monitor as lm
from lezea_monitor.compat import document, wandb_summary

VARIANTS = [
    {"id": "base", "layers": 1},
    {"id": "no|dropout", "layers": 2},  # a cell that a Markdown table has to escape
]
COLUMNS = ("id", "score", "wall_s", "cpu_s", "peak_mb", "cost")


def train(layers):
    """So much CPU of this thread; the score."""
    end = time.thread_time() + 0.1 * layers
    while time.thread_time() < end:
        pass
    return 0.7 + layers / 20


def ablate(folder, index, variant):
    """One variant: its folder's files, and its line of the leaderboard."""
    place = os.path.join(folder, "run_%03d_%s" % (index, variant["id"].replace("|", "_")))
    os.makedirs(place, exist_ok=True)
    write(os.path.join(place, "run_spec.json"), variant)
    begun = time.monotonic()
    with lm.start_run("ablation", name=variant["id"], tags={"run_dir": place}) as run:
        score = train(variant["layers"])
        run.event("score", value=score)
    figures = wandb_summary(run, prefix="")
    write(os.path.join(place, "metrics.json"), {"score": score, **figures})
    cost = document(run, "business/cost_analysis_summary.json") or {}
    with open(os.path.join(place, ".done"), "w", encoding="ascii"):
        pass
    peak = figures.get("total/memory_peak_bytes")
    return run.id, {
        "id": variant["id"],
        "score": score,
        "wall_s": round(time.monotonic() - begun, 3),
        "cpu_s": figures.get("total/cpu_seconds"),
        "peak_mb": None if peak is None else peak / 1e6,
        "cost": cost.get("total_eur"),
    }


def write(path, data):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=2)


def leaderboard(folder, lines):
    """Best first; what is not known is empty."""
    lines = sorted(lines, key=lambda line: -line["score"])
    cells = [["" if line[key] is None else str(line[key]) for key in COLUMNS] for line in lines]
    with open(os.path.join(folder, "leaderboard.csv"), "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *cells])
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *escaped]
    with open(os.path.join(folder, "leaderboard.md"), "w", encoding="utf-8") as file:
        file.writelines("| %s |\n" % " | ".join(row) for row in rows)


def main(folder):
    done = [ablate(folder, index, variant) for index, variant in enumerate(VARIANTS)]
    leaderboard(folder, [line for _, line in done])
    with open(os.path.join(folder, "events.jsonl"), "wb") as file:
        for run_id, _ in done:
            if run_id:
                command = ["lezea-monitor", "events", run_id, "--as", "spectramind"]
                subprocess.run(command, stdout=file, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
