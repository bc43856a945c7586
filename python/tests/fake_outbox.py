"""The outbox of a scripted agent: deliveries by id, with the items that wait, and documents.

`Outbox(agent)` teaches a FakeAgent what run.update and run.end say of the tracker, outbox.list,
outbox.show, outbox.take, outbox.ack and outbox.file.
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
        self.of_agent = []  # deliveries that the agent brings
        self.takes_several = True  # False: an agent of before that
        self.lose_acks = 0  # so many acknowledgements are not heard
        self.settings = {}  # as the client says them
        for method in ("list", "show", "take", "ack", "file"):
            agent.replies["outbox." + method] = getattr(self, "_" + method)
        agent.replies["run.update"] = self._update
        agent.replies["run.end"] = {"final": final, "status": "FINISHED", "totals": {}}

    def add(self, run_id, *items, sink="mlflow http://h", for_agent=False, **fields):
        """A delivery of (kind, body) items; `fields` as outbox.list has them."""
        number = len(self.deliveries) + 1
        texts = [(kind, json.dumps(body)) for kind, body in items]
        self.items[number] = [
            {"id": 100 * number + n, "kind": kind, "body": text}
            for n, (kind, text) in enumerate(texts)
        ]
        self.of_agent += [number] if for_agent else []
        entry = {"id": number, "run_id": run_id, "attempt": 1, "sink": sink}
        self.deliveries.append({**entry, **fields})
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
        """Newest first, and only what is not complete."""
        found = [self._entry(one) for one in reversed(self.deliveries) if self.left(one["id"])]
        chosen = [one for one in found if one["run_id"] == params["run_id"]]
        return {"deliveries": chosen, "sinks": [], "more": False}

    def _entry(self, delivery):
        left = self.left(delivery["id"])
        counts = (left, 0) if delivery["id"] in self.of_agent else (0, left)
        entry = {"settings": dict(self.settings), "waiting": counts[0], "with_client": counts[1]}
        return {**entry, "state": "waiting", "dead": 0, "delivered": 0, "bytes": 0, **delivery}

    def _show(self, params):
        entry = self._entry(self.deliveries[params["delivery"] - 1])
        return {"delivery": {**entry, "key": "k-1", "kind": "mlflow"}, "items": [], "more": True}

    def _take(self, params):
        waiting = self.items[params["delivery"]]
        count = params.get("limit", 1) if self.takes_several else 1
        more = {"more": waiting[1:count]} if len(waiting[:count]) > 1 else {}
        return {"item": next(iter(waiting), None), **more}

    def _ack(self, params):
        waiting = self.items[params["delivery"]]
        if self.lose_acks:
            self.lose_acks -= 1
            return error("too_many", "not now")
        for number in [params["item"], *params["more"]]:
            assert waiting[0]["id"] == number
            item = waiting.pop(0)
            if "error" in params:
                assert not params["more"]
                self.dead.append((item, params["error"]))
        return {"left": len(waiting)}

    def _file(self, params):
        if params["file"] not in self.documents:
            return error("invalid_params", "the run has no document of that name")
        data, begin = self.documents[params["file"]], params["offset"]
        piece = data[begin : begin + CHUNK_BYTES]
        return {
            "file": params["file"], "offset": begin, "size": len(data),
            "data": base64.b64encode(piece).decode(), "eof": begin + len(piece) == len(data),
        }  # fmt: skip
