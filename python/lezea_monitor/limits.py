"""What a run is allowed, and how that stands: the client's half.

Checks limits before they are sent. Owns what the agent said of them last, and the thread that
calls the program back. Reading it never waits: notifications keep it up to date, and whoever
reads has it asked for at most once a second.
"""

import collections
import logging
import threading
import time
from typing import Any, Callable, Deque, Dict, Iterable, List, Mapping, Optional, Tuple

from .noop import warn_once

log = logging.getLogger("lezea_monitor")

ADDITIVE = ("core_hours", "gpu_hours", "energy_joules", "cost", "steps", "episodes")
MEMORY = ("memory_bytes", "gpu_memory_bytes")
# By what they are of; the agent's own table is the one that counts.
NAMES: Dict[str, Tuple[str, ...]] = {
    "run": ("runtime_seconds",) + ADDITIVE + MEMORY,
    "scopes": ADDITIVE + MEMORY,
    "levels": ADDITIVE,
    "experiment": ("runtime_seconds",) + ADDITIVE,
}
SECTIONS = ("scopes", "levels", "experiment", "on_exceeded", "grace_seconds")
ON_EXCEEDED = ("tell", "refuse", "terminate")
REFRESH_SECONDS = 1.0  # how often a reader has the agent asked
MAX_WAITING = 1000  # calls of the program's callback that wait; further ones are dropped

RANKS = {"warned": 1, "exceeded": 2}
EVENTS = {1: ("limit_warning", "warned"), 2: ("limit_exceeded", "exceeded")}

Callback = Callable[[Dict[str, Any]], Any]
Key = Tuple[Any, Any, Any, Any]


class OverBudget(RuntimeError):
    """A budget is used up, and the run asked not to begin then (`on_exceeded: "refuse"`)."""


def checked(limits: Mapping[str, Any]) -> Dict[str, Any]:
    """A copy that the agent will take. Raises ValueError: which limit, and what was expected."""
    result: Dict[str, Any] = {}
    for name, value in _items("limits", limits):
        if name in ("scopes", "levels"):
            result[name] = {
                str(place): _values(name, "%s[%r]" % (name, place), values)
                for place, values in _items(name, value)
            }
        elif name == "experiment":
            result[name] = _values(name, name, value)
        elif name == "on_exceeded":
            if value not in ON_EXCEEDED:
                raise ValueError("on_exceeded is one of %s, not %r" % (", ".join(ON_EXCEEDED), value))
            result[name] = value
        elif name == "grace_seconds":
            if not _is_number(value) or not 0 <= value <= 86400:
                raise ValueError("grace_seconds is a number from 0 to 86400, not %r" % (value,))
            result[name] = value
        else:
            result.update(_values("run", "limits", {name: value}))
    return result


def _items(what: str, value: Any) -> Iterable[Tuple[Any, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError("%s is a mapping of names to numbers, not %r" % (what, value))
    return list(value.items())


def _values(place: str, what: str, values: Any) -> Dict[str, Any]:
    known = NAMES[place]
    for name, value in _items(what, values):
        if name not in known:
            others = known + (SECTIONS if place == "run" else ())
            import difflib  # only for a mistake

            near = difflib.get_close_matches(str(name), others, 1)
            hint = " (did you mean %s?)" % near[0] if near else ""
            expected = "expected one of " + ", ".join(known)
            raise ValueError("%s: no limit here is called %r%s: %s" % (what, name, hint, expected))
        if value is not None and not (_is_number(value) and 0 < value <= 1e18):
            raise ValueError("%s: %s is a number above 0, not %r" % (what, name, value))
    return dict(values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def merged(known: Mapping[str, Any], change: Mapping[str, Any]) -> Dict[str, Any]:
    """Limits after a change, as they are said to an agent that knows nothing of the run."""
    result = dict(known)
    for name, value in change.items():
        before = result.get(name)
        nested = isinstance(before, dict) and isinstance(value, dict)
        result[name] = merged(before or {}, value) if nested else value
    return result


class Limits:
    """See the module. `ask` queues a question and returns what its reply will be in, or None."""

    def __init__(
        self, ask: Callable[[], Any], callback: Optional[Callback] = None, states: Any = None
    ) -> None:
        self.stop = False  # a limit has come to 100 %
        self._ask = ask
        self._callbacks: List[Callback] = [callback] if callback else []
        self._states: List[Dict[str, Any]] = []
        self._told: Dict[Key, int] = {}  # what the callback was called with, by RANKS
        self._asked: Any = None
        self._heard = 0  # answers; what was asked for before the last one is older
        self._due = time.monotonic() + REFRESH_SECONDS
        self._connection: Any = None
        self._calls: Deque[Dict[str, Any]] = collections.deque(maxlen=MAX_WAITING)
        self._caller: Optional[threading.Thread] = None
        self._ready = threading.Event()
        # Re-entrant: a signal handler may read it while its thread is in here.
        self._lock = threading.RLock()
        self.hear(states)

    @property
    def states(self) -> List[Dict[str, Any]]:
        """How each limit stands, as it was heard last."""
        return [dict(state) for state in self._states]

    def call_too(self, callback: Callback) -> None:
        """From now on this one is called as well."""
        self._callbacks = self._callbacks + [callback]

    def should_stop(self) -> bool:
        """Waits for nothing; has the agent asked where the answer is a second old."""
        self._take_answer()
        if time.monotonic() >= self._due:
            self.refresh()
        return self.stop

    def refresh(self) -> None:
        """Has the agent asked, unless that is under way."""
        self._due = time.monotonic() + REFRESH_SECONDS
        if self._asked is not None:
            return
        heard = self._heard
        asked = self._ask()
        with self._lock:
            if heard == self._heard:
                self._asked = asked

    def look(self, connection: Any) -> None:
        """Now and then, on the link's thread: after a reconnect something may have been missed."""
        self._take_answer()
        if connection is not self._connection and connection is not None:
            self._connection = connection
            if self._callbacks or self._states:
                self.refresh()

    def missed(self) -> None:
        """The agent says that notifications were left out."""
        self._connection = None

    def _take_answer(self) -> None:
        with self._lock:
            asked = self._asked
            if asked is None or not asked.done.is_set():
                return
            self._asked = None
            if asked.error is None:
                self.hear(asked.result.get("limits"))

    def hear(self, states: Any) -> None:
        """All of them, as an answer of the agent has them; none: there are no limits.

        An answer that was asked for before and not taken yet is left: it may be older than this one.
        """
        found = [s for s in states or () if isinstance(s, dict)] if isinstance(states, list) else []
        with self._lock:
            self._asked = None
            self._heard += 1
            found = [self._not_older(state) for state in found]
            self._states = found
            told = {_key(state): self._told.get(_key(state), 0) for state in found}
            for state in found:
                self._note(told, state)
            self._told = told
            self._settle()

    def _not_older(self, state: Dict[str, Any]) -> Dict[str, Any]:
        """What a limit of this value has come to stays: the answer may be older than the notice."""
        for known in self._states:
            if _key(known) != _key(state) or known.get("value") != state.get("value"):
                continue
            if RANKS.get(known.get("state", ""), 0) > RANKS.get(state.get("state", ""), 0):
                return dict(state, state=known["state"])
        return state

    def notice(self, params: Any) -> None:
        """One of them has come to 80 % or to 100 %."""
        if not isinstance(params, dict) or params.get("state") not in RANKS:
            return
        others = ("run_id", "attempt", "event")
        state = {name: value for name, value in params.items() if name not in others}
        key = _key(state)
        with self._lock:
            if self._told.get(key, 0) >= RANKS[state["state"]]:
                return
            kept = [known for known in self._states if _key(known) != key]
            self._states = kept + [state]
            self._note(self._told, state)
            self._settle()

    def _note(self, told: Dict[Key, int], state: Dict[str, Any]) -> None:
        """A call for each word that is new; a limit that was raised may be told again."""
        key, rank = _key(state), RANKS.get(state.get("state", ""), 0)
        for step in range(told.get(key, 0) + 1, rank + 1):
            event, word = EVENTS[step]
            if self._callbacks:
                self._calls.append(dict(state, event=event, state=word))
        told[key] = rank

    def _settle(self) -> None:
        self.stop = any(state.get("state") == "exceeded" for state in self._states)
        if not self._calls:
            return
        self._ready.set()
        if self._caller is None:
            caller = threading.Thread(target=self._call, name="lezea-monitor-limits", daemon=True)
            try:
                caller.start()
                self._caller = caller
            except RuntimeError as error:  # at exit
                log.debug("limits are not told: %s", error)

    # On a thread of its own: the program may take its time.

    def _call(self) -> None:
        while True:
            self._ready.wait()
            self._ready.clear()
            while self._calls:
                state = self._calls.popleft()
                for callback in self._callbacks:
                    try:
                        callback(dict(state))
                    except BaseException as error:  # sys.exit() ends no program from here
                        warn_once("on_limit", "on_limit raised %r", error)


def _key(state: Mapping[str, Any]) -> Key:
    return tuple(state.get(name) for name in ("limit", "scope", "level", "experiment"))  # type: ignore
