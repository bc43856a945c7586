"""One connection to the agent: the handshake, and what the agent is told on every connection.

Reads the tree (which scopes to define) and the ring pool (which rings to offer); owns the socket.
After a reconnect a new Session says everything again, under the same run id and with the same
rings, so that what was recorded in between is still read. Used by the link's thread; only
`push` and `push_rings` are for every other.
"""

import collections
import contextlib
import itertools
import json
import os
import socket
import threading
import time
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional

from . import wire
from .ring import RingPool
from .tree import Tree
from .version import VERSION
from .wire import AgentError, Channel, Unavailable

BATCH_BYTES = 48 * 1024  # of scope definitions in one message; a request is at most 64 KiB
PUSH_MAX = 64  # scopes that a training thread defines by itself; a longer backlog is not its work
# The link's thread waits so long for a `push`. In several goes: a thread that needs the
# interpreter to get out of its `push` gets it in between.
SENDING_TRIES = 10
SENDING_TRY_SECONDS = 0.1
_json = json.JSONEncoder(separators=(",", ":")).encode


class Address:
    """Where the agent was found, and which rule its folder has to satisfy."""

    def __init__(self, path: str, own_folder: bool) -> None:
        self.path = path
        self.own_folder = own_folder


class Identity:
    """What this process says about itself each time it connects."""

    def __init__(
        self, run: Dict[str, Any], tid: int, birth_scope: str, starts_run: bool, must_exist: bool
    ) -> None:
        self.run = run  # parameters of run.start; the first reply fills in run_id
        self.tid = tid  # the primary thread
        self.birth_scope = birth_scope  # path of the scope in which this process was forked
        self.starts_run = starts_run  # False: the run is there, only a session is to be opened
        self.must_exist = must_exist  # the first run.start must not make a run
        self.created = False  # this process's first run.start made the run
        # UUIDs of the GPUs that records name, by the index that they name them with. Only appended to.
        self.devices: List[str] = []
        self.limits: Any = None  # how they stood when the run was started


class Pending:
    """A request that waits for its reply."""

    __slots__ = ("done", "result", "error")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result: Dict[str, Any] = {}
        self.error: Optional[Exception] = None


class Waiting:
    """Requests without a reply, by number; they outlive a connection that is not up yet."""

    def __init__(self) -> None:
        self._pending: Dict[int, Pending] = {}
        self._numbers = itertools.count(1)

    def expect(self) -> "tuple[int, Pending]":
        number, pending = next(self._numbers), Pending()
        self._pending[number] = pending
        return number, pending

    def forget(self, number: int) -> None:
        self._pending.pop(number, None)

    def resolve(self, message: Dict[str, Any]) -> None:
        number = message.get("id")
        pending = self._pending.get(number) if isinstance(number, int) else None
        if pending is not None:
            result = message.get("result")
            pending.result = result if isinstance(result, dict) else {}
            if "error" in message:
                pending.error = AgentError(message["error"])
            pending.done.set()

    def fail(self, error: Exception) -> None:
        """The connection is gone: whoever waits for a reply hears it now.

        A reply that came before is one, also where the thread that asked has not woken up yet.
        """
        for pending in list(self._pending.values()):
            if not pending.done.is_set():
                pending.error = error
                pending.done.set()


class Stuck(Unavailable):
    """A signal handler that does not return has interrupted a `push`: nothing can be sent here."""


class Session:
    """See the module. The constructor connects, checks the server and says everything."""

    def __init__(
        self,
        address: Address,
        identity: Identity,
        waiting: Waiting,
        deadline: float,
        on_notification: Callable[[Dict[str, Any]], None],
    ) -> None:
        self.token = ""
        self._address = address
        self._devices = identity.devices
        self._devices_told = 0
        self._waiting = waiting
        self._on_notification = on_notification
        self._defined = 0  # how many of tree.nodes this connection has defined
        self._offered = 0  # how many of pool.rings were offered for this session
        self._answers: Deque[socket.SocketType] = collections.deque()  # to offers
        self._refusal: Optional[AgentError] = None  # of a ring, not told yet
        # Of what goes out: `channel.unsent`, what was told so far and the descriptor's life.
        self._lock = threading.Lock()
        connection = wire.connect(address.path, socket.SOCK_STREAM, address.own_folder, deadline)
        self.channel = Channel(connection, self._on_message)
        try:
            self._say_hello(identity, deadline)
            self._open(identity, deadline)
        except (KeyError, TypeError) as error:
            self.close()
            raise Unavailable("the agent's reply lacks %s" % error) from error
        except BaseException:
            self.close()
            raise

    def _say_hello(self, identity: Identity, deadline: float) -> None:
        hello = {"client": "lezea-monitor-python", "version": VERSION, "protocols": [1]}
        if self.ask("hello", hello, deadline).get("protocol") != 1:
            raise Unavailable("the agent speaks another protocol")
        if identity.must_exist:
            self.ask("run.get", {"run_id": identity.run["run_id"]}, deadline)
            identity.must_exist = False
        if identity.starts_run:
            identity.created = self._start_run(identity, deadline).get("created") is True
            identity.starts_run = False

    def _start_run(self, identity: Identity, deadline: float) -> Dict[str, Any]:
        reply = self.ask("run.start", identity.run, deadline)
        identity.run["run_id"] = str(reply["run_id"])
        identity.limits = reply.get("limits")
        return reply

    def _open(self, identity: Identity, deadline: float) -> None:
        try:
            try:
                self._open_session(identity, deadline)
            except AgentError as error:
                # An agent that came back without its memory is told again. A run that has ended
                # is not: starting it once more would begin its next attempt.
                if error.code != "unknown_run":
                    raise
                self._start_run(identity, deadline)
                self._open_session(identity, deadline)
        except AgentError as error:
            if identity.created:  # nobody else will end what this process began
                reason = "session refused: %s" % error
                run_id = identity.run["run_id"]
                end = {"run_id": run_id, "status": "FAILED", "reason": reason}
                self.ask("run.end", end, deadline)
            raise

    def _open_session(self, identity: Identity, deadline: float) -> None:
        params: Dict[str, Any] = {
            "run_id": identity.run["run_id"],
            "pid": os.getpid(),
            "t_ns": time.monotonic_ns(),
        }
        # A primary thread that has gone is the agent's business: it goes on with the leader.
        if os.path.exists("/proc/self/task/%d" % identity.tid):
            params["tid"] = identity.tid
        if identity.birth_scope:
            params["birth_scope"] = identity.birth_scope
        devices = list(self._devices)
        if devices:
            params["devices"] = devices
        self.token = str(self.ask("session.open", params, deadline)["session"])
        self._devices_told = len(devices)

    def ask(self, method: str, params: Dict[str, Any], deadline: float) -> Dict[str, Any]:
        """A request before the connection has a thread. Raises AgentError, Unavailable."""
        number, pending = self._waiting.expect()
        line = wire.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        try:
            if line is None:
                raise AgentError({"message": "%s is too large" % method})
            self.channel.send(line)
            while not pending.done.is_set():
                self.channel.wait(deadline)
        finally:
            self._waiting.forget(number)
        if pending.error is not None:
            raise pending.error
        return pending.result

    def offer_rings(self, pool: RingPool) -> None:
        """Offers the rings that this session has not offered yet; `hear_answers` comes later.

        Waits for nothing; under the lock, from whichever thread.
        """
        while self._offered < len(pool.rings):
            self.channel.check()
            ring = pool.rings[self._offered]
            address = self._address
            try:
                self._answers.append(
                    wire.offer_ring(address.path, address.own_folder, self.token, ring.fd)
                )
            except AgentError as error:
                self._refusal = error
            self._offered += 1

    def hear_answers(self, deadline: float) -> Optional[AgentError]:
        """For the link's thread: waits for what became of the offers; the last refusal, if any."""
        while self._answers:
            try:
                wire.hear_answer(self._answers.popleft(), deadline)
            except AgentError as error:
                self._refusal = error
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            self.channel.receive()  # a session that has ended is refused as well: Lost
        return refusal

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """For the link's thread: nobody else sends meanwhile.

        Raises Stuck when that takes too long: only another connection can go on.
        """
        if not self._acquire():
            raise Stuck("a thread was stopped while it sent a scope's definition")
        try:
            yield
        finally:
            self._lock.release()

    def _acquire(self) -> bool:
        tries = range(SENDING_TRIES)
        return any(self._lock.acquire(timeout=SENDING_TRY_SECONDS) for _ in tries)

    def push(self, tree: Tree) -> bool:
        """Tells of new scopes and devices from the thread that has them; False: the link's thread has to.

        That thread may next be in native code that keeps the interpreter to itself, and the
        agent would read records of a scope that it does not know. Waits for nothing.
        """
        if not self._lock.acquire(blocking=False):  # or in a signal handler inside of here
            return False
        try:
            if self.channel.unsent or len(tree.nodes) - self._defined > PUSH_MAX:
                return False
            self.tell_devices()
            self.define(tree, BATCH_BYTES)
            self.channel.flush()
            return not self.channel.unsent
        except Unavailable:
            return False  # the link's thread notices by itself
        except BaseException:  # a signal handler's; how much of a line was sent, nobody knows
            self.channel.abort()
            raise
        finally:
            self._lock.release()

    def push_rings(self, pool: RingPool) -> None:
        """Offers new rings from the thread that made them, before there are records in them.

        What is in the way, the link's thread deals with. Waits for nothing.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            self.offer_rings(pool)
        except Unavailable:
            pass  # the link's thread tries again, and hears why not
        finally:
            self._lock.release()

    @property
    def devices_told(self) -> bool:
        """Whether the agent can know every device that a record may name from now on."""
        return self._devices_told == len(self._devices) and not self.channel.unsent

    def tell_devices(self) -> None:
        """Queues the list of devices, whole, where it has grown."""
        devices = list(self._devices)
        if self._devices_told == len(devices):
            return
        self._devices_told = len(devices)
        self.channel.send(
            b'{"jsonrpc":"2.0","method":"session.devices",'
            b'"params":{"session":%s,"devices":%s}}\n'
            % (_json(self.token).encode(), _json(devices).encode())
        )

    def define(self, tree: Tree, room: int) -> None:
        """Queues definitions of new scopes, up to `room` unsent bytes in all."""
        while len(self.channel.unsent) < room and self._defined < len(tree.nodes):
            scopes: List[str] = []
            size = 0
            while self._defined < len(tree.nodes) and size < BATCH_BYTES:
                node = tree.nodes[self._defined]
                scopes.append(_json(node.definition()))
                size += len(scopes[-1]) + 1
                self._defined += 1
            self.channel.send(
                b'{"jsonrpc":"2.0","method":"scope.define",'
                b'"params":{"session":%s,"scopes":[%s]}}\n'
                % (_json(self.token).encode(), ",".join(scopes).encode())
            )

    def _on_message(self, message: Dict[str, Any]) -> None:
        if message.get("id") is not None:
            self._waiting.resolve(message)
        else:
            self._on_notification(message)

    def close(self) -> None:
        """Closes the connection, but not under a `push`: the descriptor's number is reused."""
        held = self._acquire()
        self.channel.close()
        while self._answers:
            wire.close(self._answers.popleft())
        if held:
            self._lock.release()
