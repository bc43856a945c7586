"""What the agent said of one run: what `run.end` answered, its last state and its documents.

Asks the agent; owns nothing.
"""

import base64
import json
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Optional

from .agent import Agent

SUMMARY = "resources/summary.json"
ENVIRONMENT = "environment/full.json"
DOCUMENTS = (SUMMARY, ENVIRONMENT, "events.jsonl")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass
class Said:
    """One run, as the trial knows it."""

    run_id: str
    attempt: int
    #: The MLflow run that it goes to; None: the agent makes one in `experiment`.
    mlflow_run: Optional[str]
    experiment: str
    #: What run.end answered; None: nothing.
    answer: Optional[Dict[str, Any]] = None
    #: What the agent says of it in the end; None: it knows no such run.
    state: Optional[Dict[str, Any]] = None
    documents: Dict[str, bytes] = field(default_factory=dict)
    #: Documents that the agent could not write: it puts them together when it is asked.
    missing: List[str] = field(default_factory=list)

    def tracker(self, address: str) -> Dict[str, str]:
        """The settings that its trainer gives the agent."""
        where = {"mlflow_tracking_uri": address}
        if self.mlflow_run is not None:
            return {**where, "mlflow_run_id": self.mlflow_run}
        return {**where, "mlflow_create": "true", "mlflow_experiment": self.experiment}

    def read(self, agent: Agent) -> None:
        self.state = agent.ask("run.get", {"run_id": self.run_id})
        for path in self.state["files"]:
            self.documents[path] = document(agent, self.run_id, path)

    def unwritten(self, state_dir: str) -> List[str]:
        assert self.state is not None
        folder = os.path.join(state_dir, "runs", self.state["key"], str(self.state["attempt"]))
        self.missing = [
            path for path in DOCUMENTS if not os.path.exists(os.path.join(folder, path))
        ]
        return self.missing

    @property
    def summary(self) -> Dict[str, Any]:
        return json.loads(self.documents[SUMMARY])

    @property
    def ended_ms(self) -> int:
        ended = datetime.fromisoformat(self.summary["run"]["ended_at"].replace("Z", "+00:00"))
        return (ended - EPOCH) // timedelta(milliseconds=1)

    def metrics(self) -> Dict[str, float]:
        """By key; zeros are not sent."""
        found = {}
        for column, total in self.summary["totals"].items():
            found["resources/total/" + column] = total["value"]
        for scope in self.summary["scopes"]:
            folder = "resources/" + scope["path"].replace(":", "/")
            for column, value in scope["self"].items():
                found["%s/%s" % (folder, column)] = value
            for column, value in scope["inclusive"].items():
                found["%s/inclusive/%s" % (folder, column)] = value
        return {key: value for key, value in found.items() if value != 0}


def document(agent: Agent, run_id: str, path: str) -> bytes:
    data = b""
    while True:
        asked = {"run_id": run_id, "file": path, "offset": len(data)}
        piece = agent.ask("run.get", asked)
        data += base64.b64decode(piece["data"])
        if piece["eof"]:
            return data
