"""The process's connection to the agent, kept by one daemon thread.

Owns the thread, the current Session and the outbox. The thread sends what is queued, reads
replies, notices the end of a connection and makes a new one. Nothing that a training thread calls
here waits, except `begin` (once, at the start) and `request` (bounded by its timeout).
"""

import logging
import random
import select
import threading
import time
from typing import Any, Callable, Dict, Optional, Set

from . import wire
from .outbox import Outbox
from .owned import Alarm
from .ring import RingPool
from .session import Address, Identity, Pending, Session, Stuck, Waiting
from .tree import Tree
from .wire import AgentError, Lost, Unavailable

log = logging.getLogger("lezea_monitor")

HANDSHAKE_SECONDS = 2.0  # for everything that a reconnect asks
BACKOFF_FIRST_SECONDS = 0.05
# An agent that restarts waits 3 s for rings, so looking once a second finds it in time.
BACKOFF_MAX_SECONDS = 1.0
LOOK_SECONDS = 1.0  # how often the program is looked at for its tracker
PROGRESS_SECONDS = 0.1  # progress reports are sent together, at most this often
# A program that closes our descriptors just before the poll begins would never end it.
POLL_SECONDS = 1.0
MAX_DEVICES = 32  # GPUs of a session that records may name
UNSENT_MAX = 256 * 1024  # bytes buffered ahead of a slow agent; the rest waits in the outbox
# Refusals that another attempt would only repeat.
FINAL_CODES = frozenset(
    (
        "run_ended",
        "unknown_run",
        "already_bound",
        "not_authorized",
        "clock_mismatch",
        "invalid_params",
        "unsupported",
    )
)


class Link:
    """See the module. Made by one thread; afterwards any thread may use the public methods."""

    def __init__(
        self,
        address: Address,
        identity: Identity,
        tree: Tree,
        pool: RingPool,
        look_around: Callable[[], None],
        on_limit: Callable[[Optional[Dict[str, Any]]], None],
    ) -> None:
        """`look_around` is called now and then by the link's thread, and raises nothing.

        `on_limit` is called when the agent says that a limit was reached; without one: that it
        may have left out saying so. It raises nothing.
        """
        self.address = address
        self.identity = identity
        self.refused_ids = 0  # scopes that the agent counts on their ancestors
        self.outbox = Outbox(self.wake)
        self._tree = tree
        self._pool = pool
        self._session: Optional[Session] = None
        self._waiting = Waiting()
        self._thread: Optional[threading.Thread] = None
        self._stopping = threading.Event()
        self._alarm: Optional[Alarm] = None
        self._woken = False
        self._lock = threading.RLock()  # of the alarm; never held during IO that can block
        self._warned: Set[str] = set()
        self._progress_due = 0.0
        self._look_around = look_around
        self._on_limit = on_limit
        self._look_due = 0.0
        self._last_work: Optional[Callable[[], None]] = None
        # The run's end is being asked: a connection lost from now on is the last. The run may have
        # ended with it, and then takes no session.
        self.is_last = False

    @property
    def started(self) -> bool:
        """Whether this process has, or is opening, a session."""
        return self._thread is not None

    @property
    def connected(self) -> bool:
        return self._session is not None

    @property
    def connection(self) -> Any:
        """Another object after each reconnect; None while there is none."""
        return self._session

    def open(self, deadline: float) -> None:
        """Connects and says everything that the agent has to know. Raises what went wrong."""
        session = Session(
            self.address, self.identity, self._waiting, deadline, self._on_notification
        )
        try:
            with session.sending():
                session.tell_devices()
                session.offer_rings(self._pool)
            self._hear_answers(session, deadline)
        except BaseException:
            session.close()
            raise
        self._session = session

    def begin(self, deadline: float) -> None:
        """`open`, tried again while there is an agent that has no room just now.

        It takes 64 connections at once that are not in a session yet; a job may start more.
        """
        delay = BACKOFF_FIRST_SECONDS
        while True:
            try:
                return self.open(deadline)
            except Lost:
                if time.monotonic() + delay >= deadline:
                    raise
            time.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, BACKOFF_MAX_SECONDS)

    def start(self) -> None:
        """Starts the thread, once. Where that is impossible (at exit) the link stays silent."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is not None or self._stopping.is_set():
                return
            try:
                self._alarm = Alarm()
                thread = threading.Thread(target=self._work, name="lezea-monitor", daemon=True)
                thread.start()
                self._thread = thread
            except (RuntimeError, OSError) as error:
                self._stopping.set()
                self._warn("thread", "cannot start the connection's thread: %s", error)

    def wake(self) -> None:
        """There is something to send. Costs one flag when the thread is awake already."""
        if not self._woken:
            self._woken = True
            with self._lock:
                if self._alarm is not None:
                    self._alarm.ring()

    def define(self) -> None:
        """There is a new scope. The calling thread tells the agent, if nothing is in the way."""
        session = self._session
        if session is None or not session.push(self._tree):
            self.wake()

    def use_device(self, uuid: str) -> Optional[int]:
        """The index by which records name this GPU; None: there are too many. Of one thread at a time."""
        devices = self.identity.devices
        if uuid not in devices:
            if len(devices) >= MAX_DEVICES:
                return None
            devices.append(uuid)
            self.define()
        return devices.index(uuid)

    @property
    def devices_told(self) -> bool:
        """Whether records may name them. Without a session they may: the next one is opened with them."""
        session = self._session
        return session is None or session.devices_told

    def offer(self) -> None:
        """There is a new ring. The calling thread offers it, if nothing is in the way."""
        session = self._session
        if session is not None:
            session.push_rings(self._pool)
        self.wake()  # for the agent's answer

    def request(self, method: str, params: Dict[str, Any], timeout: float) -> Dict[str, Any]:
        """Asks and waits. Raises AgentError when refused, Unavailable when there is no reply."""
        if self._thread is None or self._stopping.is_set():
            raise Unavailable("this process has no connection to the agent")
        number, pending = self._waiting.expect()
        self.outbox.queue_progress(self.identity.run["run_id"])
        try:
            if not self._ask(number, method, params):
                raise Unavailable("the queue to the agent is full")
            if not pending.done.wait(timeout):
                raise Unavailable("the agent did not answer in time")
        finally:
            self._waiting.forget(number)
        if pending.error is not None:
            raise pending.error
        return pending.result

    def ask_ahead(self, method: str, params: Dict[str, Any]) -> Pending:
        """A request that nobody waits for: its reply is there when that of a later one is."""
        number, pending = self._waiting.expect()
        if not self._ask(number, method, params):
            self._waiting.forget(number)
            pending.error = Unavailable("the queue to the agent is full")
            pending.done.set()
        return pending

    def _ask(self, number: int, method: str, params: Dict[str, Any]) -> bool:
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        return self.outbox.put(wire.encode(message))

    def close(self, timeout: float = 0.5, last: Optional[Callable[[], None]] = None) -> None:
        """Ends the connection and the thread, which before that does its `last` work.

        At exit no new thread can be started (Python 3.12), but this one is there.
        """
        self._last_work = last
        self._stopping.set()
        thread = self._thread
        if thread is None:
            self._drop_session()
            return
        self._woken = False
        self.wake()
        if thread is not threading.current_thread():
            thread.join(timeout)

    def abandon_in_child(self) -> None:
        """In a forked child: closes what it inherited, without the locks of lost threads."""
        wire.close_inherited()
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None
        self._session = None

    # From here on: the link's own thread.

    def _work(self) -> None:
        delay = BACKOFF_FIRST_SECONDS
        try:
            while not self._stopping.is_set():
                try:
                    if self._session is None:
                        self._mend()
                        self.open(time.monotonic() + HANDSHAKE_SECONDS)
                        delay = BACKOFF_FIRST_SECONDS
                    self._turn(self._session)
                except AgentError as error:
                    if error.code in FINAL_CODES:
                        self._warn("refused", "the agent refused to go on: %s", error)
                        return
                except Stuck:  # that handler may be the one that asks, and its request is queued
                    self._drop_session()
                except Unavailable as error:
                    self._lose(error)
                except Exception as error:  # a bug of ours must not end the recording
                    self._warn("bug", "unexpected: %r", error)
                    self._lose(Unavailable("unexpected: %r" % error))
                if self._session is None:
                    self._stopping.wait(delay * random.uniform(0.5, 1.0))
                    delay = min(delay * 2, BACKOFF_MAX_SECONDS)
        finally:
            self._finish()

    def _finish(self) -> None:
        self._stopping.set()
        self._drop_session()
        self._waiting.fail(Unavailable("the connection was closed"))
        with self._lock:
            alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.close()
        if self._last_work is not None:
            self._last_work()

    def _mend(self) -> None:
        """Another alarm where the program has closed ours."""
        with self._lock:
            if self._alarm is not None and self._alarm.fd < 0:
                self._alarm.close()
                self._alarm = Alarm()

    def _turn(self, session: Any) -> None:
        """Sends what there is and waits for what comes, once."""
        self._woken = False
        if time.monotonic() >= self._look_due:
            self._look_due = time.monotonic() + LOOK_SECONDS
            self._look_around()
        channel = session.channel
        with session.sending():
            session.offer_rings(self._pool)
            more = self._fill(session)
            channel.flush()
        self._hear_answers(session, time.monotonic() + HANDSHAKE_SECONDS)
        if more and not channel.unsent:
            return  # a fast agent: there is room for the rest
        alarm: Any = self._alarm
        alarm_fd = alarm.fd
        if alarm_fd < 0:
            raise Unavailable("the program closed the client's descriptors")
        poller = select.poll()
        poller.register(alarm_fd, select.POLLIN)
        poller.register(
            channel.connection, select.POLLIN | (select.POLLOUT if channel.unsent else 0)
        )
        timeout = POLL_SECONDS
        if self.outbox.has_progress:
            timeout = min(timeout, max(0.001, self._progress_due - time.monotonic()))
        for fd, _ in poller.poll(timeout * 1000):
            if fd == alarm_fd:
                alarm.silence()
            else:
                channel.receive()

    def _fill(self, session: Session) -> bool:
        """Definitions, then the outbox, as far as a slow agent lets us.

        True when there may be more than fitted.
        """
        session.tell_devices()
        session.define(self._tree, UNSENT_MAX)
        now = time.monotonic()
        if self.outbox.has_progress and now >= self._progress_due:
            self._progress_due = now + PROGRESS_SECONDS
            self.outbox.queue_progress(self.identity.run["run_id"])
        while len(session.channel.unsent) < UNSENT_MAX:
            line = self.outbox.take()
            if line is None:
                return False
            session.channel.send(line)
        return True

    def _hear_answers(self, session: Session, deadline: float) -> None:
        refusal = session.hear_answers(deadline)
        if refusal is not None:
            self._warn("ring", "%s: scopes of this process are not recorded", refusal)

    def _on_notification(self, message: Dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params")
        params = params if isinstance(params, dict) else {}
        if method in ("limit", "resync"):
            self._on_limit(params if method == "limit" else None)
        if method != "dropped":
            return
        ids = params.get("ids")
        self.refused_ids += len(ids) if isinstance(ids, list) else 1
        reason = params.get("reason", "no reason given")
        self._warn("dropped", "the agent counts some scopes on their parents: %s", reason)

    def _lose(self, error: Unavailable) -> None:
        """After a loss; requests that were made while there was no connection go on waiting."""
        if self._session is not None:
            lost = Lost(str(error))  # whatever it was: who asks may ask elsewhere
            self._waiting.fail(lost)  # first: what is asked from now on goes to the next agent
            self._drop_session()
            while self.is_last and not self._stopping.wait(BACKOFF_FIRST_SECONDS):
                self._waiting.fail(lost)  # asked just before the loss, and queued

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _warn(self, kind: str, text: str, *values: object) -> None:
        """One warning of each kind in the process's life."""
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("lezea-monitor: " + text, *values)
