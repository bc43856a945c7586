"""What this process knows of its experiment tracker: where the run's totals belong.

Reads the MLFLOW_* variables and, where the program has imported it, mlflow itself, which is never
imported here. Emits the settings of run.start and run.update. Nothing in here raises, whatever
stands under mlflow's name in sys.modules; what was slow once is not asked again.
"""

import logging
import os
import sys
import threading
import time
import types
from typing import Any, Callable, Dict, List, Mapping, Optional, TypeVar, Union

from .names import text_of
from .tracker_address import clean_address, has_credentials

log = logging.getLogger("lezea_monitor")

Given = Union[None, bool, Mapping[str, object]]
Settings = Dict[str, str]
T = TypeVar("T")

URI, RUN = "mlflow_tracking_uri", "mlflow_run_id"
ARTIFACTS, CREDENTIALS = "mlflow_artifact_uri", "mlflow_credentials"
MAX_CHARS = 2048  # of one setting; a longer one is not sent, half an address is none
SLOW_SECONDS = 0.5  # an answer is a few look-ups; what takes longer does something else


class Tracker:
    """The settings of one run, as they become known. `look_around` is for the link's thread."""

    def __init__(self, given: Given = None) -> None:
        """`given` is start_run's `tracker`: False: say nothing; a mapping: what it has, wins."""
        self.settings: Settings = {}  # as they were found last
        self._silent = given is False
        self._given = _texts(given) if isinstance(given, Mapping) else {}
        self._addresses: Dict[str, str] = {}  # as the program wrote it -> as it is sent
        self._environment: Settings = {}  # what stands there, or stood: mlflow clears MLFLOW_RUN_ID
        self._run: Settings = {}  # the run that was found in the program, and where
        self._first = True
        self._slow = False
        self._home = threading.get_ident()  # the thread that starts the run
        self._last_before = _guarded(_last_run_id)

    def silence(self) -> None:
        """In a forked child: the run is its parent's to speak of, and to deliver."""
        self._silent = True
        self.settings = {}

    def look(self) -> Settings:
        """What there is to say, asked on the program's own thread: at the start and the end."""
        if not self._silent:
            if not self._slow:
                begin = time.monotonic()
                self._note(_guarded(self._here))
                self._slow = time.monotonic() - begin > SLOW_SECONDS
            self._first = False
            self._gather()
        return self.settings

    def look_around(self) -> Optional[Settings]:
        """The same from another thread; None when nothing has changed."""
        before = self.settings
        if not self._silent and "mlflow" in sys.modules:
            self._note(_guarded(self._elsewhere))
            self._gather()
        return None if self.settings == before else self.settings

    def own_address(self, address: str) -> str:
        """`address` as the program wrote it, which may have a password in it."""
        wanted = address.rstrip("/")
        for raw, clean in list(self._addresses.items()):
            if clean.rstrip("/") == wanted:
                return raw
        return address

    # mlflow's own run

    def _here(self) -> Any:
        """The run that is active in this thread; before anything else, the innermost."""
        mlflow = imported("mlflow")
        if mlflow is None:
            return None
        active = mlflow.active_run()
        if active is not None and self._first:
            return active
        found = self._elsewhere()
        if found is not None or active is not None:
            return found or active
        last = _last_run_id()  # it began and ended since anybody looked
        return _ended(last) if last and last != self._last_before else None

    def _elsewhere(self) -> Any:
        """The run that some thread has begun: the one that is known, while it is active."""
        runs = _active_runs(self._home)
        known = [run for run in runs if _id_of(run) == self._run.get(RUN)]
        return (known or runs or [None])[0]

    def _note(self, run: Any) -> None:
        """Remembers a run with where it was found; its address is the one of that moment."""
        run_id = _guarded(lambda: _id_of(run))
        if not run_id or run_id == self._run.get(RUN):
            return
        found = {RUN: run_id}
        uri = _guarded(lambda: _text(imported("mlflow").get_tracking_uri()))
        if uri:
            found[URI] = uri
        artifacts = _guarded(lambda: _text(getattr(run.info, "artifact_uri", None)))
        if artifacts:
            found[ARTIFACTS] = clean_address(artifacts)
        self._run = found

    # What is sent

    def _gather(self) -> None:
        for name, variable in ((URI, "MLFLOW_TRACKING_URI"), (RUN, "MLFLOW_RUN_ID")):
            value = os.environ.get(variable)
            if value:
                self._environment[name] = value
        found = {**self._environment, **self._run}
        raw = found.get(URI, "")
        if raw:
            if raw not in self._addresses:
                self._addresses[raw] = clean_address(raw)
            found[URI] = self._addresses[raw]
        if self._given.get(URI, found.get(URI)) != found.get(URI):
            found = {}  # a run of one tracker is none of another's
        found.update(self._given)
        if found and CREDENTIALS not in found and has_credentials(raw):
            found[CREDENTIALS] = "client"
        self.settings = {k: v for k, v in found.items() if v and len(v) <= MAX_CHARS}


def _guarded(ask: Callable[[], T]) -> Optional[T]:
    """The answer of somebody else's code, None for what it raises."""
    try:
        return ask()
    except Exception as error:  # not mlflow as it is known here, or only half imported
        log.debug("mlflow was asked for its run: %r", error)
        return None


def imported(name: str) -> Any:
    """A module that the program has imported, to its last line; else None."""
    module = sys.modules.get(name)
    specification = getattr(module, "__spec__", None)
    return None if getattr(specification, "_initializing", False) else module


def _active_runs(home: int) -> List[Any]:
    """Active runs of all threads, those of thread `home` first, the outermost of each first.

    mlflow.active_run() knows the calling thread's only (before 2.14 there was one list for all),
    and mlflow has no public way to ask for others'.
    """
    stacks = getattr(imported("mlflow.tracking.fluent"), "_active_run_stack", None)
    if isinstance(stacks, list):
        return list(stacks)
    if not hasattr(stacks, "get_all_thread_values"):
        return []
    by_thread: Dict[int, List[Any]] = stacks.get_all_thread_values()
    main = threading.main_thread().ident
    order = sorted(by_thread, key=lambda thread: (thread != home, thread != main))
    return [run for thread in order for run in by_thread[thread]]


def _last_run_id() -> Optional[str]:
    """The run that this thread ended last. mlflow.last_active_run() would ask the tracker."""
    last = getattr(imported("mlflow.tracking.fluent"), "_last_active_run_id", None)
    last = last.get() if hasattr(last, "get") else last
    return last if isinstance(last, str) else None


def _ended(run_id: str) -> Any:
    """What stands for a run of which only the id is known."""
    return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id))


def _id_of(run: Any) -> str:
    return "" if run is None else _text(run.info.run_id)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(given: Mapping[str, object]) -> Settings:
    """Of the caller's mapping what can be sent."""
    found = {}
    for key, value in given.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else text_of(value)
            found[text_of(key)] = clean_address(text) if key in (URI, ARTIFACTS) else text
    return found
