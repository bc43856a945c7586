"""What a trial needs, and the way through it: an agent, trainers, faults, and a calm end.

Owns the agent, the proxy and the trainers. What it sees goes into the trial's result.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, Dict, Optional

from .agent import Agent, AgentFailed
from .faults import Loose
from .mlflow import Mlflow
from .oracle import judge
from .paths import TRAINER
from .plan import Trial
from .proxy import Proxy
from .result import Result
from .rpc import Refused
from .said import Said
from .tmpfs import tmpfs

SETTLE_SECONDS = 90
TRAINER_SECONDS = 120
LOOK_SECONDS = 0.03
FINAL = ("FINISHED", "FAILED", "INTERRUPTED", "KILLED", "LOST")


class Bench:
    """What a trial needs, and the way through it."""

    def __init__(self, trial: Trial, mlflow: Mlflow, experiment: str, result: Result) -> None:
        self.trial, self.mlflow, self.experiment, self.result = trial, mlflow, experiment, result
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Bench":
        with contextlib.ExitStack() as stack:
            folder = self.result.folder
            if any(fault.kind == "full-disk" for fault in self.trial.faults):
                folder = stack.enter_context(tmpfs(os.path.join(folder, "disk")))
            self.agent = Agent(self.result.folder, os.path.join(folder, "state"))
            stack.callback(self._close_agent)
            self.proxy = Proxy(self.mlflow.port)
            stack.callback(self.proxy.close)
            self.loose = Loose(self.trial.faults, self.agent, self.proxy, self.mlflow)
            stack.callback(self.loose.end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()
        self.result.failed += self.loose.failures

    def _close_agent(self) -> None:
        self.result.kills = self.agent.kills
        self.result.failed_writes = self.agent.orders["failed"]
        self.agent.close()
        self.result.failed += self.agent.faults

    def play(self) -> None:
        self.loose.let("start")
        self.agent.start()
        said = self._said("run-" + self.trial.seed, 1)
        self._train(said, self.trial.ends, self.loose)
        self.loose.let("deliver")
        if self.trial.again == "at once":
            self._settle(said, delivered=False)
            self._train_next(said)
            return
        self._calm()
        self._settle(said)
        # Before the next attempt writes over the documents of this one.
        judge(said, self.mlflow, self.result.verdict)
        self._train_next(said)

    def _calm(self) -> None:
        """No fault from here on."""
        self.loose.end()
        self.agent.wait_ready()

    def _train_next(self, said: Said) -> None:
        """Another run, or another attempt; while faults last only where it is to come at once."""
        if self.trial.again != "at once":
            self.proxy.quiet()
        fresh = self._fresh(said)
        self._train(fresh, True, None)
        self._calm()
        if fresh.answer is None:
            self.result.failed.append("a run after the faults was not acknowledged")
        self._settle(fresh)
        is_next = fresh.run_id == said.run_id and said.state is not None
        judge(fresh, self.mlflow, self.result.verdict, said if is_next else None)
        self.result.harmed = self.proxy.harmed
        self.result.writes = self.agent.orders["count"]

    def _said(self, run_id: str, attempt: int) -> Said:
        if self.trial.creates:
            return Said(run_id, attempt, None, "faults-" + run_id)
        return Said(run_id, attempt, self.mlflow.new_run(self.experiment), "")

    def _fresh(self, said: Said) -> Said:
        if self.trial.again == "no":
            return self._said("fresh-" + self.trial.seed, 1)
        attempt = said.state["attempt"] + 1 if said.state is not None else 1
        return Said(said.run_id, attempt, said.mlflow_run, said.experiment)

    def _train(self, said: Said, ends: bool, loose: Optional[Loose]) -> None:
        """A trainer from its beginning to its end; its lines let faults loose."""
        orders = {
            "socket": self.agent.socket, "run_id": said.run_id, "attempt": said.attempt,
            "status": self.trial.status, "ends": ends, "burn_ms": 8,
            "tracker": said.tracker(self.proxy.address),
        }  # fmt: skip
        if loose is not None:
            loose.let("begin")
        with open(os.path.join(self.result.folder, "trainer.err"), "ab") as errors:
            trainer = subprocess.Popen(
                [sys.executable, "-S", "-E", TRAINER, json.dumps(orders)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        if loose is not None:
            loose.trainer = trainer
        watchdog = threading.Timer(TRAINER_SECONDS, trainer.kill)
        watchdog.start()
        try:
            assert trainer.stdout is not None
            for line in trainer.stdout:
                if line.endswith("\n"):
                    self._heard(json.loads(line), said, loose)
            status = trainer.wait()
        finally:
            watchdog.cancel()
            trainer.kill()
            trainer.wait()
        was_killed = loose is not None and loose.killed_trainer
        self.result.acknowledged += said.answer is not None
        if status != 0 and not was_killed:
            self.result.failed.append("the trainer ended with status %d" % status)

    def _heard(self, line: Dict[str, Any], said: Said, loose: Optional[Loose]) -> None:
        if "answer" in line:
            said.answer = line["answer"]
        elif loose is not None:
            phase = {"bound": "work", "ending": "ending"}.get(line["at"])
            if phase is not None:
                loose.let(phase)

    def _settle(self, said: Said, delivered: bool = True) -> None:
        """Until the run has its final status and nothing of it waits; then reads what is said."""
        deadline = time.monotonic() + SETTLE_SECONDS
        revived = set()
        why = "nothing was heard"
        while time.monotonic() < deadline:
            if self.mlflow.is_away:  # in another trial, too
                deadline = time.monotonic() + SETTLE_SECONDS
            try:
                why = self._look(said, delivered, revived)
            except OSError as error:
                why = str(error)  # the agent has just died
            except Refused as refusal:
                if refusal.code != "unknown_run":
                    raise
                why = ""
            if not why:
                return
            time.sleep(LOOK_SECONDS)
        late = "%s was not delivered in %d s: %s" % (said.run_id, SETTLE_SECONDS, why)
        self.result.failed.append(late)

    def _look(self, said: Said, delivered: bool, revived: set) -> str:
        """What is still to come; "": nothing, and what the agent says of the run was read."""
        state = self.agent.ask("run.get", {"run_id": said.run_id})
        listed = self.agent.ask("outbox.list", {"run_id": said.run_id})["deliveries"]
        if delivered:
            for one in listed:
                if one["state"] == "failed":
                    self._dead(one, revived)
        if state["status"] not in FINAL or (listed and delivered):
            return "%s; waiting: %s" % (state["status"], listed)
        said.read(self.agent)
        self._count_unwritten(said)
        return ""

    def _count_unwritten(self, said: Said) -> None:
        """Where the disk failed for long a run's documents may be missing, never its figures."""
        self.result.unwritten += len(said.unwritten(self.agent.state))
        if said.missing and not self.agent.disk_failed:
            self.result.failed.append("%s: not written: %s" % (said.run_id, said.missing))

    def _dead(self, delivery: Dict[str, Any], revived: set) -> None:
        """A place that takes only some bytes is mended by somebody, who then asks for a retry."""
        expected = any(fault.kind == "tracker-413" for fault in self.trial.faults)
        if delivery["id"] in revived or not expected:
            raise AgentFailed("given up: %s" % delivery)
        revived.add(delivery["id"])
        self.agent.ask("outbox.retry", {"delivery": delivery["id"]})
