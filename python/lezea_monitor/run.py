"""A live run: what `start_run` returns when there is an agent. Linux only.

Owns the process's tree, rings, link and hooks for as long as the run lasts. Recording (scopes,
progress, events) never raises and never waits for the agent; only `phase`, `usage` and `end` do,
for a bounded time.
"""

import functools
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Union

from . import asking, hooks, scope, tasks, tracker
from .capture import Capture
from .decorate import decorate
from .facts import Facts
from .limits import Callback, Limits, checked, merged
from .link import Link
from .names import clean_level, text_of
from .noop import NoWatch, warn_once
from .opener import opener
from .redact import without_secrets
from .ring import RingPool
from .scope import Recorder, Scope
from .session import Address, Identity, Pending
from .tree import Tree
from .usage import Usage
from .wire import MAX_REQUEST, AgentError, Lost, Unavailable

if TYPE_CHECKING:
    from .watch import Watch, Watcher

log = logging.getLogger("lezea_monitor")

LEVELS = ("builder", "tasker", "algorithm", "network", "layer")
START_SECONDS = 5.0  # for the whole of start_run's talk with the agent
USAGE_SECONDS = 2.0
EDGE_SECONDS = 0.25  # that a phase waits for the sample which is its beginning
MAX_WORD_CHARS = 512  # of an event's or a phase's name
MAX_EVENT_BYTES = 16 * 1024  # of a whole run.event message; the agent's limit is for its data
AGENT_EVENTS = ("run.", "process.", "agent.", "phase.")
LIMIT_EVENTS = ("limit_warning", "limit_exceeded", "limit_signalled")
STATUSES = ("FINISHED", "FAILED", "INTERRUPTED", "KILLED")
END_SECONDS = 5.0  # an explicit end: the agent takes a last sample and writes its documents
CAPTURE_SECONDS = 1.0  # of that, for a capture that is not done
EXIT_SECONDS = 2.0  # an end at exit


class Run:
    """A run of this process. Make it with `start_run`."""

    # Set per instance: a function is called faster than a method, and these are the hot path.
    builder: Callable[[object], Scope]
    tasker: Callable[[object], Scope]
    algorithm: Callable[[object], Scope]
    network: Callable[[object], Scope]
    layer: Callable[[object], Scope]

    def __init__(
        self,
        address: Address,
        parameters: Dict[str, Any],
        must_exist: bool,
        on_end: Callable[[], None],
        tracker_given: tracker.Given = None,
        on_limit: Optional[Callback] = None,
        capture_level: int = 0,
    ) -> None:
        """Opens the run. Raises Unavailable or AgentError when there is none to be had."""
        self._on_end = on_end
        self._tracker = tracker.Tracker(tracker_given)
        if self._tracker.look():
            parameters["tracker"] = self._tracker.settings
        self._tree = Tree(self._define)
        self._pool = RingPool(self._offer)
        self._facts = Facts(self._ask_ahead, warn_once)
        self._unreadable = 0  # reports whose data could not be read
        identity = Identity(parameters, threading.get_native_id(), "", True, must_exist)
        self._ended = False
        self._limits = Limits(self._ask_limits, on_limit)
        self._link = self._new_link(address, identity)
        try:
            self._pool.prepare()
            self._link.begin(time.monotonic() + START_SECONDS)
        except BaseException:
            self._pool.close()
            raise
        self._limits.hear(identity.limits)
        self._link.start()
        self._last = Usage({})
        self._openers: Dict[str, Callable[[object], Scope]] = {}
        self._watcher: "Optional[Watcher]" = None
        for level in LEVELS:
            setattr(self, level, self._opener(level))
        self._environment = hooks.Environment(self.id, address.path)
        self._exit_hooks = hooks.ExitHooks(self._at_exit)
        self._exit_hooks.install()
        hooks.on_fork(self._after_fork)
        self._task_hook = tasks.Hook(scope.state)
        self._recorder = Recorder(self._tree, self._pool)
        scope.start(self._recorder)
        self._task_hook.install()
        self._capture = Capture(capture_level, self._facts.add)

    @property
    def id(self) -> str:
        """The run's id, as the agent knows it."""
        return str(self._link.identity.run["run_id"])

    @property
    def created(self) -> bool:
        """Whether this process's start_run made the run (False: it attached to it)."""
        return self._link.identity.created

    @property
    def active(self) -> bool:
        """Whether the run is still being recorded by this process."""
        return not self._ended

    @property
    def dropped(self) -> int:
        """What could not be recorded so far: messages, and entries of scopes past a limit."""
        link = self._link
        return (
            link.outbox.dropped + link.refused_ids + self._tree.refused
            + self._pool.refused_threads + scope.lost_errors() + self._unreadable
            + self._facts.dropped
        )  # fmt: skip

    # Scopes

    def _opener(self, level: str) -> Callable[[object], Scope]:
        known = self._openers.get(level)
        if known is None:
            known = self._openers[level] = opener(self._tree, level)
        return known

    def scope(self, level: object, name: object) -> Scope:
        """A scope of any level: a context manager and a decorator."""
        known = self._openers.get(level) if type(level) is str else None
        return (known or self._opener(clean_level(level)))(name)

    def scoped(self, level: object, name: object) -> Callable[..., Any]:
        """A decorator: the body of the function runs in this scope."""
        return lambda function: decorate(function, lambda: self.scope(level, name))

    def watch(
        self, module: Any, name: object = None, *, level: object = "layer", depth: Optional[int] = None,
        only: Optional[Callable[[str, Any], Any]] = None, cuda: bool = False,
    ) -> "Union[Watch, NoWatch]":  # fmt: skip
        """A torch module and its parts are scopes from now on, forward and backward, nested as they
        are called, until `remove` of what this returns, the end of its `with` block, or of the run.

        name: of the module itself, default its class; parts have the names of `named_modules`.
        depth: of parts, 0 is the module alone. only: called with a part's name and module, says
        whether it is watched. cuda: what they take on a GPU is timed there, with events.
        """
        if not self.active:
            return NoWatch()
        from .watch import Watcher  # nobody else needs it

        try:
            if self._watcher is None:
                self._watcher = Watcher(self._tree, self._lose_call, lambda: self._link)
            return self._watcher.watch(module, name, level, depth, only, cuda)
        except LookupError as error:
            warn_once("watch", "run.watch does nothing: %s", error)
            return NoWatch()

    def _lose_call(self) -> None:
        self._unreadable += 1

    # Reports

    def phase(self, name: object) -> None:
        """The whole run is in phase `name` from now on; said again, it goes on.

        Returns once the agent has taken the sample at its edge, after a quarter of a second at
        most; at once where there is no agent: the phase then begins when there is one again.
        """
        try:
            if self.active:
                self._link.start()
                self._say_phase({"run_id": self.id, "name": text_of(name)[:MAX_WORD_CHARS]})
        except Exception as error:  # a name that cannot be read
            self._lose("run.phase: %r", error)

    def _say_phase(self, params: Dict[str, Any]) -> None:
        link = self._link
        if not link.connected:
            link.outbox.notify("run.phase", params)
            return
        said = link.ask_ahead("run.phase", params)
        # Native code that keeps the interpreter's lock may follow: till its end nobody could send it.
        if said.done.wait(EDGE_SECONDS) and isinstance(said.error, Unavailable):
            link.outbox.notify("run.phase", params)  # the agent went away: the next one hears it
        elif isinstance(said.error, AgentError):
            self._lose("run.phase: %s", said.error)

    def event(self, name: object, **data: Any) -> None:
        """An entry in the run's audit trail; `data` is at most 16 KiB as JSON."""
        word = text_of(name)[:MAX_WORD_CHARS]
        if word.startswith(AGENT_EVENTS) or word in LIMIT_EVENTS:  # a notification: nobody would hear the refusal
            self._lose("event %r: such names are the agent's own", word)
        else:
            self._notify("run.event", {"event": word, "data": data}, MAX_EVENT_BYTES)

    def facts(self, **facts: Any) -> None:
        """Says what the run is made of: dataset_version, seeds, config_sha256, hyperparameters,
        tags, and whatever else. Objects are merged key by key; None takes a key away.
        """
        try:
            if self.active:
                self._link.start()
                self._facts.say(facts)
        except Exception as error:  # values that cannot be read
            self._lose("facts: %r", error)

    def _ask_ahead(self, params: Dict[str, Any]) -> Pending:
        return self._link.ask_ahead("run.update", {"run_id": self.id, **params})

    def progress(self, steps: float = 0, episodes: float = 0) -> None:
        """Adds to the steps and episodes done in the current scope."""
        try:
            if self.active and (steps or episodes):
                self._link.start()
                outbox = self._link.outbox
                outbox.add_progress(self._path(), _count(steps), _count(episodes))
        except Exception as error:  # numbers that are none
            self._lose("progress: %r", error)

    def _notify(self, method: str, params: Dict[str, Any], limit: int = MAX_REQUEST) -> None:
        try:
            if self.active:
                self._link.start()
                self._link.outbox.notify(method, {"run_id": self.id, **params}, limit)
        except Exception as error:  # data that cannot be read, say
            self._lose("%s: %r", method, error)

    def _lose(self, text: str, *values: object) -> None:
        self._unreadable += 1
        log.debug("dropped: " + text, *values)

    def _path(self) -> str:
        return scope.current().path or self._link.identity.birth_scope

    def usage(self, path: Optional[str] = None, fresh: bool = False) -> Usage:
        """What a scope, or the whole run, has consumed so far.

        The figures are at most a second old; `fresh` takes a sample first. Waits for the agent
        for two seconds at most; every column is None when there is no answer.
        """
        if not self.active:  # the agent told the whole run's totals, no scope's
            return Usage({}) if path else self._last
        params: Dict[str, Any] = {"run_id": self.id}
        if path:
            params["scope"] = str(path)
        if fresh:
            params["fresh"] = True
        try:
            self._link.start()
            return Usage(self._link.request("run.usage", params, USAGE_SECONDS))
        except (AgentError, Unavailable) as error:
            log.debug("run.usage: %s", error)
            return Usage({})

    # Limits

    def set_limits(self, limits: Dict[str, Any]) -> bool:
        """Changes limits by name; None takes one away, the others stay. Whether the agent took it.

        Waits for the agent for two seconds at most. What is no limit is a warning, not an error.
        """
        if not self.active:
            return False
        try:
            change = checked(limits)
            self._link.start()
            told = {"run_id": self.id, "limits": change}
            reply = self._link.request("run.update", told, USAGE_SECONDS)
        except (ValueError, AgentError) as error:
            log.warning("lezea-monitor: limits were not set: %s", error)
            return False
        except Unavailable as error:
            log.debug("run.update: %s", error)
            return False
        known = self._link.identity.run
        known["limits"] = merged(known.get("limits", {}), change)
        self._limits.hear(reply.get("limits"))
        return True

    @property
    def limits(self) -> List[Dict[str, Any]]:
        """How every limit of the run and of its experiment stands: `limit value used remaining
        ratio state`, and `scope`, `level` or `experiment` where it is of one.

        Waits for the agent for two seconds at most; without an answer what was heard last.
        """
        if self.active and self._link.started:
            try:
                told = {"run_id": self.id}
                reply = self._link.request("run.usage", told, USAGE_SECONDS)
                self._limits.hear(reply.get("limits"))
            except (AgentError, Unavailable) as error:
                log.debug("run.usage: %s", error)
        return self._limits.states

    @property
    def should_stop(self) -> bool:
        """Whether a limit of the run, a scope, a level or the experiment has come to 100 %.

        At most a second old, and waits for nothing: made to be read in every step.
        """
        try:
            return self._limits.should_stop()
        except Exception as error:  # a bug of ours must not end the training
            log.debug("should_stop: %r", error)
            return False

    def call_on_limit(self, callback: Callback) -> None:
        """From now on `callback` is called too."""
        self._limits.call_too(callback)

    def _ask_limits(self) -> Any:
        """What the reply will be in; None: nobody can be asked."""
        if self._ended or not self._link.connected:
            return None
        return self._link.ask_ahead("run.usage", {"run_id": self.id})

    def _on_limit(self, params: Optional[Dict[str, Any]]) -> None:
        if params is None:
            self._limits.missed()
        else:
            self._limits.notice(params)

    # The end

    def end(self, status: str = "FINISHED", reason: Optional[str] = None) -> None:
        """Ends this process's part of the run; the run ends with its last part.

        status: FINISHED, FAILED, INTERRUPTED or KILLED.
        """
        if status not in STATUSES:  # after hours of training an exception would help nobody
            log.warning("lezea-monitor: status %r is none of %s", status, ", ".join(STATUSES))
            status, reason = "FAILED", reason or "ended with status %s" % text_of(status)
        self._end((status, reason), END_SECONDS)

    def _end(self, outcome: hooks.Outcome, timeout: float) -> None:
        if self._ended:
            return
        self._ended = True
        if self._watcher is not None:
            self._watcher.close()
        scope.stop()
        self._task_hook.uninstall()
        self._exit_hooks.uninstall()
        hooks.on_fork(None)
        self._environment.restore()
        deadline = time.monotonic() + timeout
        last = None
        try:
            # A forked child that never recorded is no part of its own: its end is its exit.
            if self._link.started:
                last = self._say_end(outcome, deadline)
        except (AgentError, Unavailable, ImportError) as error:  # the package may be gone meanwhile
            log.debug("run.end: %s", error)
        finally:  # also when a signal handler of the program's raises while the reply is awaited
            left = 0.5 if last is None else max(0.5, deadline - time.monotonic())
            self._link.close(left, None if last is None else last.work)
            self._pool.close()
            self._on_end()
            if last is not None:
                last.tell()

    def _say_end(self, outcome: hooks.Outcome, deadline: float) -> Any:
        """Ends this process's part; the totals' delivery, where that is left to do here."""
        self._capture.wait(min(CAPTURE_SECONDS, deadline - time.monotonic()))
        params = {"run_id": self.id, "status": outcome[0]}
        if outcome[1]:
            reason = without_secrets(text_of(outcome[1]))  # it may have an address in it
            params["reason"] = reason[: hooks.MAX_REASON_CHARS]
        settings = self._tracker.look()
        told = {"run_id": self.id, "tracker": settings}
        self._link.is_last = True
        # Told once more: what was said in between may be lost.
        update = self._link.ask_ahead("run.update", told) if settings else None
        try:
            reply = self._link.request("run.end", params, max(0.1, deadline - time.monotonic()))
        except Lost:
            questions = [("run.update", told)] if settings else []
            questions.append(("run.end", params))
            reply = asking.ask_next(self._link.address, questions, deadline)
        self._last = Usage({"inclusive": reply.get("totals")})
        if update is None or reply.get("final") is not True:
            return None
        answer = reply.get("tracker", update.result.get("tracker"))
        if not isinstance(answer, dict) or answer.get("by") != "client":
            return None
        from . import deliver  # nobody else needs it

        return deliver.AtEnd(self.id, self._link.address, self._tracker.own_address, deadline)

    def _look_around(self) -> None:
        """On the link's thread, now and then."""
        self._limits.look(self._link.connection)
        settings = self._tracker.look_around()
        if settings is not None:
            self._link.identity.run["tracker"] = settings
            told = {"run_id": self.id, "tracker": settings}
            self._link.outbox.notify("run.update", told)
        self._facts.look_around()

    def _at_exit(self) -> None:
        self._end(self._exit_hooks.outcome, EXIT_SECONDS)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, exc_type: Any, error: Optional[BaseException], traceback: Any) -> None:
        self._end(hooks.outcome_of(error), END_SECONDS)

    def __reduce__(self) -> Any:
        """In another process a run is attached to, not copied."""
        from .client import start_run  # client imports this module

        socket = self._link.address.path
        return functools.partial(start_run, run_id=self.id, socket=socket), ()

    # Threads and processes

    def _new_link(self, address: Address, identity: Identity) -> Link:
        tree, pool = self._tree, self._pool
        return Link(address, identity, tree, pool, self._look_around, self._on_limit)

    def _offer(self) -> None:
        self._link.offer()

    def _define(self) -> None:
        self._link.define()

    def _on_ring_in_child(self) -> None:
        """The first record of a forked child opens its session; further rings are offered."""
        self._link.start()
        self._link.offer()

    def _after_fork(self) -> None:
        """In the child: leaves the parent's sockets and rings alone and gets ready for its own.

        The child keeps its place in the tree; it opens its session with its first record.
        """
        birth_scope = self._path()
        identity = self._link.identity
        self._unreadable = 0
        self._link.abandon_in_child()
        self._pool.close()
        self._pool = RingPool(self._on_ring_in_child)
        self._tree.after_fork()
        child = Identity(dict(identity.run), os.getpid(), birth_scope, False, False)
        address = self._link.address
        # The program is called back in the process that asked for it, and in no worker.
        self._limits = Limits(self._ask_limits, None, self._limits.states)
        self._link = self._new_link(address, child)
        self._tracker.silence()
        self._facts = Facts(self._ask_ahead, warn_once)
        self._capture.after_fork()
        if self._watcher is not None:
            self._watcher.after_fork()
        self._exit_hooks.after_fork()
        self._recorder = Recorder(self._tree, self._pool)
        scope.after_fork(self._recorder)


def _count(value: Any) -> float:
    """A finite int or float that is not negative. Raises ValueError or TypeError."""
    if value - value != 0 or value < 0:
        raise ValueError("not a count: %r" % (value,))
    return value if isinstance(value, int) else float(value)
