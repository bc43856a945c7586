"""What a case works with: the machine, an agent that reads its GPUs by NVML, and the report. Owns the agent."""

import json
import os
import subprocess
import time
from typing import Any, Dict, Tuple

from harness import exposition
from harness.agent import Agent, AgentFailed
from harness.paths import COMMAND, REPOSITORY
from machine import Machine
from report import Report

OPEN_SECONDS = 90  # NVML may take a minute where nothing keeps the GPUs awake


class Bench:
    def __init__(self, machine: Machine, report: Report, seconds: int) -> None:
        self.machine = machine
        self.report = report
        self.seconds = seconds
        self.agent = Agent(machine.settings)

    def __enter__(self) -> "Bench":
        os.environ.update(self.machine.env)
        try:
            self.agent.start()
            self._wait_for_nvml()
        except BaseException:
            self.agent.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.agent.stop()
        finally:
            self.agent.remove()

    def _wait_for_nvml(self) -> None:
        """Until the GPUs were read twice: the first figures are of their waking."""
        deadline = time.monotonic() + OPEN_SECONDS
        first_at = None
        while True:
            source = self.agent.source("gpu")
            if time.monotonic() > deadline:
                raise AgentFailed("it reads no GPU by NVML: %s" % source["reason"])
            times = self.scrape().get("lezea_gpu_read_time_seconds", {})
            if source["state"] == "ok" and times:
                first_at = min(times.values()) if first_at is None else first_at
                if min(times.values()) > first_at + 0.5:
                    return
            time.sleep(0.2)

    def scrape(self) -> exposition.Families:
        return exposition.parse(exposition.fetch(self.agent.http + "/metrics"))

    def of_gpu(self, families: exposition.Families, name: str, uuid: str) -> "float | None":
        return families.get(name, {}).get((("gpu", uuid),))

    def command(self, *words: str) -> Tuple[int, Dict[str, Any]]:
        """Exit status and JSON of a command that asks the agent."""
        done = subprocess.run(
            COMMAND + [*words, "--json", "--socket", self.agent.socket],
            capture_output=True, text=True, timeout=120, cwd=REPOSITORY, check=False,
        )  # fmt: skip
        if not done.stdout:
            raise AgentFailed("%s: %s" % (words[0], done.stderr))
        return done.returncode, json.loads(done.stdout)
