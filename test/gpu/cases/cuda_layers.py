"""GPU time of two layers as the client measures it with CUDA events, against torch.profiler's kernels (layers.py)."""

import json
import os
import subprocess
import sys

LAYERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "layers.py")
BOUND = 0.03
LIMIT_SECONDS = 300


def check(bench):
    done = subprocess.run(
        [sys.executable, LAYERS, "--json"],
        env={**os.environ, "LEZEA_MONITOR_SOCKET": bench.agent.socket},
        capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        bench.report.check("layers", False, done.stderr.strip()[-500:])
        return
    said = json.loads(done.stdout)
    if "skipped" in said:
        bench.report.skip("layers", said["skipped"])
        return
    for path, ns in said["scopes"].items():
        ours, theirs = ns["client_ns"], ns["profiler_ns"]
        figures = "%.3f s, torch.profiler %.3f s" % (ours / 1e9, theirs / 1e9)
        within = theirs > 0 and abs(ours - theirs) <= BOUND * theirs
        bench.report.check(path, within, figures)
    bench.report.check("no time was dropped", said["dropped"] == 0, str(said["dropped"]))
