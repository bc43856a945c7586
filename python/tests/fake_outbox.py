"""The outbox of a scripted agent: deliveries by id, with the items that wait, and documents.

`Outbox(agent)` teaches a FakeAgent the methods outbox.list, outbox.take, outbox.ack and run.get.
"""

import base64
import hashlib
import json

from .fake_agent import error

CHUNK_BYTES = 1000  # small, so that documents come in several pieces


class Outbox:
    def __init__(self, agent, by="client", final=True):
        self.agent, self.by = agent, by
        self.deliveries, self.items, self.dead, self.documents = [], {}, [], {}
        self.lose_acks = 0  # so many acknowledgements are not heard
        self.attempt = 1
        self.settings = {}  # as the client says them
        for method in ("outbox.list", "outbox.take", "outbox.ack", "run.get", "run.update"):
            agent.replies[method] = getattr(self, "_" + method.split(".")[1])
        agent.replies["run.end"] = {"final": final, "status": "FINISHED", "totals": {}}

    def add(self, run_id, *items, attempt=1, sink="mlflow", **target):
        """A delivery of (kind, body) items; `target` may have address and settings."""
        number = len(self.deliveries) + 1
        texts = [(kind, json.dumps(body)) for kind, body in items]
        self.items[number] = [
            {"id": 100 * number + n, "kind": kind, "body": text}
            for n, (kind, text) in enumerate(texts)
        ]
        entry = {"id": number, "run_id": run_id, "attempt": attempt, "sink": sink, "by": self.by}
        self.deliveries.append({**entry, **target})
        return number

    def document(self, path, data):
        """The item of a document that the run has."""
        self.documents[path] = data
        digest = hashlib.sha256(data).hexdigest()
        return ("artifact", {"path": path, "bytes": len(data), "sha256": digest})

    def left(self, number=1):
        return len(self.items[number])

    def _update(self, params):
        self.settings.update(params.get("tracker", {}))
        return {"tracker": {"by": self.by}}

    def _list(self, params):
        if params.get("run_id") not in self.agent.runs:
            return error("unknown_run", "no such run")
        found = [
            {"state": "waiting", "waiting": self.left(one["id"]), "delivered": 0, "dead": 0,
             "settings": dict(self.settings),
             "address": self.settings.get("mlflow_tracking_uri", ""), **one}
            for one in self.deliveries
        ]  # fmt: skip
        return {"deliveries": [one for one in found if one["run_id"] == params["run_id"]]}

    def _take(self, params):
        return {"item": next(iter(self.items[params["delivery"]]), None)}

    def _ack(self, params):
        waiting = self.items[params["delivery"]]
        if self.lose_acks:
            self.lose_acks -= 1
            return error("too_many", "not now")
        assert waiting[0]["id"] == params["item"]
        item = waiting.pop(0)
        if "error" in params:
            self.dead.append((item, params["error"]))
        return {"left": len(waiting)}

    def _get(self, params):
        if "file" not in params:
            return {"run_id": params["run_id"], "attempt": self.attempt}
        if params["file"] not in self.documents:
            return error("invalid_params", "the run has no document of that name")
        data, begin = self.documents[params["file"]], params["offset"]
        piece = data[begin : begin + CHUNK_BYTES]
        return {
            "file": params["file"], "offset": begin, "size": len(data),
            "data": base64.b64encode(piece).decode(), "eof": begin + len(piece) == len(data),
        }  # fmt: skip
