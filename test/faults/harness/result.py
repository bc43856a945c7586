"""What became of a trial, and how it is told."""

from typing import Any, Dict, List

from .oracle import Verdict
from .plan import Trial


class Result:
    """What became of a trial."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.verdict = Verdict()
        #: Why it was not carried through, or what the agent did that it must not.
        self.failed: List[str] = []
        self.acknowledged = 0
        self.unwritten = 0
        self.kills = 0
        self.failed_writes = 0
        self.harmed = 0
        self.writes = 0
        self.seconds = 0.0
        self.folder = ""

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.failed


def as_json(result: Result) -> Dict[str, Any]:
    trial, verdict = result.trial, result.verdict
    return {
        "seed": trial.seed, "faults": [str(fault) for fault in trial.faults],
        "creates": trial.creates, "ends": trial.ends, "status": trial.status, "again": trial.again,
        "ok": result.ok, "lost": verdict.lost, "doubled": verdict.doubled, "wrong": verdict.wrong,
        "failed": result.failed, "acknowledged": result.acknowledged,
        "unwritten_documents": result.unwritten, "agent_kills": result.kills,
        "failed_writes": result.failed_writes, "harmed_requests": result.harmed,
        "writes": result.writes,
        "seconds": round(result.seconds, 2), "folder": "" if result.ok else result.folder,
    }  # fmt: skip
