"""One trial from its plan to its result. Owns its folder, which stays where the trial failed."""

import json
import os
import shutil
import subprocess
import tempfile
import time

from .agent import AgentFailed
from .bench import Bench
from .mlflow import Mlflow
from .plan import Trial
from .result import Result, as_json
from .rpc import Refused


def carry_out(trial: Trial, mlflow: Mlflow, experiment: str) -> Result:
    result = Result(trial)
    begun = time.monotonic()
    result.folder = tempfile.mkdtemp(prefix="lezea-faults-")
    try:
        with Bench(trial, mlflow, experiment, result) as bench:
            bench.play()
    except (AgentFailed, OSError, Refused, subprocess.TimeoutExpired) as error:
        result.failed.append("%s: %s" % (type(error).__name__, error))
    result.seconds = time.monotonic() - begun
    if result.ok:
        shutil.rmtree(result.folder)
    else:
        with open(os.path.join(result.folder, "trial.json"), "w", encoding="utf-8") as file:
            json.dump(as_json(result), file, indent=1)
    return result
