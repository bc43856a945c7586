"""The machine that is looked at: where its nvidia-smi is, and what the agent is told of its NVML."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple, Union

DRIVER = "/proc/driver/nvidia/version"
ANSWER_SECONDS = 60
NOT_SAID = ("", "N/A", "Not Supported", "Unknown Error", "Insufficient Permissions", "Not Found")


class NvidiaSmiFailed(Exception):
    """It did not answer, or not what it was asked."""


@dataclass
class Machine:
    nvidia_smi: str
    settings: List[str] = field(default_factory=list)  # of the agent
    env: Dict[str, str] = field(default_factory=dict)  # of the agent and its commands

    def ask(self, *fields: str) -> Dict[str, Dict[str, Optional[str]]]:
        """What nvidia-smi says of each GPU, by UUID; None is what it does not say."""
        names = ("uuid",) + fields
        command = [self.nvidia_smi, "--query-gpu=" + ",".join(names), "--format=csv,noheader,nounits"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
        if done.returncode != 0:
            raise NvidiaSmiFailed((done.stdout + done.stderr).strip()[:500])
        gpus = {}
        for line in done.stdout.splitlines():
            values = [value.strip().strip("[]") for value in line.split(",")]
            if len(values) != len(names):
                raise NvidiaSmiFailed("%d values for %d fields: %s" % (len(values), len(names), line))
            said = dict(zip(names, (None if value in NOT_SAID else value for value in values)))
            gpus[values[0]] = said
        return gpus


    def accounted(self, pid: int) -> Optional[Tuple[float, float]]:
        """Of a process that has ended, where accounting mode is on: seconds that it had a context for, and its share of
        the GPU in them, 0 to 1. None where nvidia-smi does not say."""
        command = [self.nvidia_smi, "--query-accounted-apps=pid,time,gpu_utilization", "--format=csv,noheader,nounits"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
        for line in done.stdout.splitlines():
            values = [value.strip() for value in line.split(",")]
            if len(values) == 3 and values[0] == str(pid) and values[1].isdigit() and values[2].isdigit():
                return int(values[1]) / 1000, int(values[2]) / 100
        return None


def find_machine() -> Union[Machine, str]:
    """This machine, or why there is nothing to look at."""
    if not os.path.exists(DRIVER):
        return "no NVIDIA driver (%s is not there)" % DRIVER
    program = shutil.which("nvidia-smi")
    if program is None:
        return "an NVIDIA driver, but no nvidia-smi in the PATH to compare with"
    machine = Machine(os.path.realpath(program))
    try:
        return machine if machine.ask() else "an NVIDIA driver, but no GPU"
    except (NvidiaSmiFailed, subprocess.TimeoutExpired) as error:
        return "nvidia-smi does not answer: %s" % " ".join(str(error).split())
