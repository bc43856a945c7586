"""What is said of a run: made JSON, freed of secrets, cut into requests and told to the agent.

Owns what the agent has not stored yet. `add` neither waits nor raises; the link's thread calls
`look_around`, which says again what was lost with a connection.
"""

import json
import logging
import threading
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

from .plain import Plain
from .redact import redacted
from .session import Pending
from .wire import AgentError

log = logging.getLogger("lezea_monitor")

MAX_REQUEST_BYTES = 48 * 1024  # of JSON in one request; the agent's limit is 64 KiB for all of it
MAX_WAITING_BYTES = 2 * 1024 * 1024
MAX_TAGS = 64
Json = Dict[str, Any]
# ask(params): a run.update that nobody waits for.
Ask = Callable[[Json], Pending]
Warn = Callable[..., None]


class Facts:
    """The facts that this process says of its run."""

    def __init__(self, ask: Ask, warn: Warn) -> None:
        self._ask = ask
        self._warn = warn
        # Re-entrant: a signal handler may say something while its thread is in here.
        self._lock = threading.RLock()
        self._waiting: List[Tuple[Json, Pending]] = []
        self._bytes = 0
        self.dropped = 0

    def say(self, facts: Mapping[str, Any]) -> None:
        """Any values by their names; `tags` are the run's own."""
        plain = Plain()
        made = plain.make(dict(facts))
        if plain.lost:
            text = "facts that JSON has no word for: %s"
            self._warn("facts", text, "; ".join(plain.lost[:5]))
        if not isinstance(made, dict):
            return
        tags = made.pop("tags", None)
        texts = _param_texts(made.get("hyperparameters"))
        if texts:
            made["param_texts"] = texts
        if isinstance(tags, dict):
            self._put({"tags": _as_tags(redacted(tags))})
        elif tags is not None:
            self._warn("tags", "tags are names and values, not %r", type(tags).__name__)
        self.add(made)

    def add(self, facts: Json) -> None:
        """JSON by key."""
        for piece in _pieces(redacted(facts)):
            self._put({"facts": piece})

    def _put(self, params: Json) -> None:
        with self._lock:
            size = len(json.dumps(params))
            if self._bytes + size > MAX_WAITING_BYTES:
                self.dropped += 1
                self._warn("many facts", "too many facts wait for the agent; some are not recorded")
                return
            self._bytes += size
            self._waiting.append((params, self._ask(params)))

    def look_around(self) -> None:
        """Lets go of what is stored, and says the rest again."""
        with self._lock:
            if not self._waiting:
                return
            waiting, self._waiting, self._bytes = self._waiting, [], 0
            for params, pending in waiting:
                if pending.done.is_set():
                    if pending.error is None:
                        continue
                    if isinstance(pending.error, AgentError):
                        self.dropped += 1
                        self._warn("refused facts", "facts are not recorded: %s", pending.error)
                        continue
                    pending = self._ask(params)  # what was sent may be lost with the agent
                self._bytes += len(json.dumps(params))
                self._waiting.append((params, pending))


def _as_tags(tags: Json) -> Dict[str, str]:
    texts = {key: one if isinstance(one, str) else json.dumps(one) for key, one in tags.items()}
    return {key[:250]: text[:5000] for key, text in list(texts.items())[:MAX_TAGS]}


def _param_texts(parameters: Any) -> Json:
    """1.0 is 1 in JSON; MLflow's log_params would have written 1.0."""
    if not isinstance(parameters, dict):
        return {}
    texts: Json = {}
    for key, value in parameters.items():
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
            texts[key] = str(value)
        elif isinstance(value, dict):
            inner = _param_texts(value)
            if inner:
                texts[key] = inner
    return texts


def _pieces(facts: Json) -> Iterator[Json]:
    """As many requests as it takes, which the agent puts together again."""
    piece: Json = {}
    size = 0
    for key, value in facts.items():
        more = len(json.dumps({key: value}))
        if more > MAX_REQUEST_BYTES and isinstance(value, dict):
            for part in _pieces(value):
                yield {key: part}
            continue
        if piece and size + more > MAX_REQUEST_BYTES:
            yield piece
            piece, size = {}, 0
        piece[key] = value
        size += more
    if piece:
        yield piece
