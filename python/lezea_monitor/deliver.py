"""Brings a run's totals to MLflow where the agent may not, with the mlflow of this process.

Reads the agent's outbox; emits what its items say (into_mlflow.py) and acknowledges each. In the
training process at the run's end, in the time there is; or later, as the user:

    python -m lezea_monitor.deliver RUN [--socket PATH] [--json]
"""

import base64
import logging
import os
import re
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from .asking import Asker
from .into_mlflow import Fetch, IntoMlflow, NotNow, Refused, parse
from .mlflow_artifacts import hash_of
from .session import Address
from .tracker import URI, imported
from .wire import AgentError, Unavailable

log = logging.getLogger("lezea_monitor")

ASK_SECONDS = 30.0  # for one answer of the agent
MAX_ERROR_CHARS = 1000  # of what is told to the agent
_PASSWORD = re.compile(r"(://)[^/\s@]*@")
TAKEN = 32  # items that are asked for at once
Say = Callable[[str], None]
Item = Dict[str, Any]


class Delivery:
    """What is to be brought to one place, and how far that has come."""

    def __init__(self, entry: Dict[str, Any]) -> None:
        settings = entry.get("settings")
        self.id = entry["id"]
        self.attempt = entry.get("attempt")
        self.sink = str(entry.get("sink", ""))
        self.settings: Dict[str, Any] = settings if isinstance(settings, dict) else {}
        self.address = str(self.settings.get(URI) or "")
        self.for_us = int(entry.get("with_client", 0)) if self.sink.startswith("mlflow") else 0
        self.for_agent = int(entry.get("waiting", 0))
        self.delivered = 0  # by us
        self.refused: List[str] = []  # why items will never be there
        self.error = str(entry.get("error") or "")  # why the rest is not there yet

    def result(self) -> Dict[str, Any]:
        """For --json."""
        found = {"id": self.id, "attempt": self.attempt, "sink": self.sink}
        found.update(delivered=self.delivered, refused=self.refused)
        found.update(with_client=self.for_us, waiting=self.for_agent)
        if self.error:
            found["error"] = self.error
        return found


def deliver(
    agent: Asker,
    deliveries: List[Delivery],
    own_address: Callable[[str], str],
    deadline: Optional[float] = None,
    say: Say = log.debug,
) -> None:
    """Brings what can be brought until `deadline`; each delivery says what became of it.

    own_address: the tracker's address as this process writes it, with its password.
    """
    for delivery in deliveries:
        if not delivery.for_us:
            continue
        delivery.error = ""
        try:
            _deliver_one(agent, delivery, own_address, deadline, say)
        except (AgentError, Unavailable) as error:
            delivery.error = "the agent: %s" % error
        except NotNow as error:
            delivery.error = str(error)
        except Exception as error:  # mlflow's, or of what is beneath it
            delivery.error = _without_password("%s: %s" % (type(error).__name__, error))


def _deliver_one(
    agent: Asker,
    delivery: Delivery,
    own_address: Callable[[str], str],
    deadline: Optional[float],
    say: Say,
) -> None:
    def ask(method: str, **params: Any) -> Dict[str, Any]:
        until = time.monotonic() + ASK_SECONDS
        return agent.ask(method, params, until if deadline is None else min(until, deadline))

    def fetch(path: str, size: int, sha256: str, file: str) -> None:
        _fetch(ask, delivery.id, path, file)
        if os.path.getsize(file) != size or hash_of(file) != sha256:
            raise Refused("%s is not what it was when the run ended" % path)

    shown = ask("outbox.show", delivery=delivery.id, limit=1)["delivery"]
    address = own_address(delivery.address)
    run_id = str(shown.get("run_id", ""))
    place = IntoMlflow(address, delivery.settings, str(shown["key"]), run_id)
    while deadline is None or time.monotonic() < deadline:
        taken = ask("outbox.take", delivery=delivery.id, limit=TAKEN)
        if taken.get("item") is None:
            delivery.for_us = 0
            return
        batches = [*_together([taken["item"], *taken.get("more", ())], place.most_metrics)]
        while batches and (deadline is None or time.monotonic() < deadline):
            items = batches.pop(0)
            refusal = {}
            if len(items) == 1:
                refusal = _log(place, delivery, items[0], fetch)
            elif not place.log_together([parse(item["body"]) for item in items]):
                batches[:0] = [[item] for item in items]
                continue
            delivery.delivered += 0 if refusal else len(items)
            number, *more = (item["id"] for item in items)
            told = {"delivery": delivery.id, "item": number, "more": more, **refusal}
            left = ask("outbox.ack", **told).get("left")
            delivery.for_us = left if isinstance(left, int) else delivery.for_us - len(items)
            say("%s, %d left" % (refusal.get("error") or items[0]["kind"], delivery.for_us))
            if left == 0:
                return
    raise NotNow("there was no more time")


def _log(place: IntoMlflow, delivery: Delivery, item: Item, fetch: Fetch) -> Dict[str, str]:
    """What to tell the agent of an item that will never be there."""
    try:
        place.log(item["kind"], parse(item["body"]), fetch)
        return {}
    except Refused as error:
        delivery.refused.append(_without_password(str(error)))
        return {"error": delivery.refused[-1][:MAX_ERROR_CHARS]}


def _together(items: List[Item], most: int) -> Iterator[List[Item]]:
    """Those that go in one batch: of one kind, and no more than so many figures."""
    batch: List[Item] = []
    room = 0
    for item in items:
        count = _figures_in(item)
        if batch and (count is None or count > room):
            yield batch
            batch = []
        if not batch:
            room = most
        batch.append(item)
        room -= most if count is None else count
    if batch:
        yield batch


def _figures_in(item: Item) -> Optional[int]:
    """None for what goes by itself."""
    try:
        metrics = parse(item["body"])["metrics"] if item["kind"] == "metrics" else None
        return len(metrics) if isinstance(metrics, list) else None
    except (Refused, KeyError):
        return None


def _fetch(ask: Callable[..., Any], delivery: int, path: str, file: str) -> None:
    """Brings a document into a file."""
    with open(file, "wb") as stream:
        while True:
            try:
                piece = ask("outbox.file", delivery=delivery, file=path, offset=stream.tell())
            except AgentError as error:
                if error.code == "invalid_params":  # there is no such document
                    raise Refused("%s: %s" % (path, error)) from error
                raise
            data = base64.b64decode(piece["data"])
            stream.write(data)
            if piece["eof"] or not data:
                return


def waiting(agent: Asker, run_id: str, deadline: float) -> List[Delivery]:
    """The run's deliveries that are not complete, oldest first."""
    listed = agent.ask("outbox.list", {"run_id": run_id}, deadline).get("deliveries", [])
    return [Delivery(entry) for entry in reversed(listed)]


def _without_password(text: str) -> str:
    return _PASSWORD.sub(r"\1", text)


class AtEnd:
    """What is left to do at the end of a run that this process has to deliver; raises nothing."""

    def __init__(
        self, run_id: str, address: Address, own_address: Callable[[str], str], deadline: float
    ) -> None:
        self._run_id = run_id
        self._address = address
        self._own_address = own_address
        self._deadline = deadline
        self._problem = "there was no more time"

    def work(self) -> None:
        """Delivers. On a thread that nobody has to wait for."""
        try:
            self._problem = self._deliver()
        except Exception as error:  # the agent went away, or said what nobody understands
            self._problem = "%s: %s" % (type(error).__name__, error)

    def _deliver(self) -> str:
        """What is in the way of the rest, if any."""
        if imported("mlflow.tracking") is None:
            return "mlflow is not imported here"
        agent = Asker(self._address, self._deadline)
        try:
            found = waiting(agent, self._run_id, self._deadline)
            deliver(agent, found, self._own_address, self._deadline)
        finally:
            agent.close()
        problems = [d.error if d.for_us else d.refused[0] for d in found if d.for_us or d.refused]
        return problems[0] if problems else ""

    def tell(self) -> None:
        """Says so where it is not done."""
        if self._problem:
            text = "lezea-monitor: totals of run %s are not all delivered (%s); what the agent "
            text += "keeps is sent by: python -m lezea_monitor.deliver %s"
            log.warning(text, self._run_id, self._problem, self._run_id)


if __name__ == "__main__":
    import sys

    from .deliver_command import main

    sys.exit(main(sys.argv[1:]))
