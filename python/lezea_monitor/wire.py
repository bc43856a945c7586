"""Finding the agent, making sure that it is one, and talking JSON-RPC to it.

Reads LEZEA_MONITOR_SOCKET, XDG_RUNTIME_DIR and the sockets' owners. Owns one connection. A server
is accepted when the kernel says (SO_PEERCRED) that it is root, this account, or the account that
owns the socket's folder; a folder in a place that others can write to must be ours alone.
"""

import json
import os
import select
import socket
import stat
import struct
import time
from array import array
from typing import Any, Callable, Dict, List, Optional, Tuple

from .foreign import is_foreign
from .owned import Owned

SYSTEM_SOCKET = "/run/lezea-monitor/agent.sock"
MAX_REQUEST = 64 * 1024  # bytes, the agent's limit
MAX_REPLY = 16 * 1024 * 1024  # bytes; what is longer is not from an agent
_UCRED = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


class AgentError(Exception):
    """The agent refused a request; `code` is its stable word."""

    def __init__(self, error: Any) -> None:
        error = error if isinstance(error, dict) else {}
        data = error.get("data")
        self.code: str = str(data.get("code", "")) if isinstance(data, dict) else ""
        super().__init__(str(error.get("message") or self.code or "refused"))


class Unavailable(Exception):
    """There is no agent to talk to (any more), or it did not answer in time."""


class Lost(Unavailable):
    """There is one, but it took no connection, or ended it: too many at once, or a restart."""


def candidates(explicit: Optional[str]) -> List[Tuple[str, bool]]:
    """Sockets to try, in order: (path, whether its folder must be ours alone)."""
    named = explicit or os.environ.get("LEZEA_MONITOR_SOCKET")
    if named:
        return [(os.path.abspath(named), False)]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    temporary = next(filter(None, map(os.environ.get, ("TMPDIR", "TMP", "TEMP"))), "/tmp")
    folders = [os.path.join(runtime, "lezea-monitor")] if runtime else []
    folders.append(os.path.join(temporary, "lezea-monitor-%d" % os.getuid()))
    return [(SYSTEM_SOCKET, False)] + [(os.path.join(f, "agent.sock"), True) for f in folders]


# Every socket that is open, so that a forked child can close those of threads it does not have.
_sockets: Dict[socket.SocketType, Owned] = {}


def close(connection: socket.SocketType) -> None:
    """Closes a socket that `connect` made, unless its number is somebody else's by now."""
    owned = _sockets.pop(connection, None)
    if owned is not None and owned.fd < 0:
        connection.detach()
    connection.close()


def close_inherited() -> None:
    """In a forked child: the parent's connections are none of ours."""
    for connection in list(_sockets):
        close(connection)


def connect(path: str, kind: int, own_folder: bool, deadline: float) -> socket.SocketType:
    """A connected, checked socket. `deadline` is on time.monotonic(). Raises Unavailable."""
    folder = os.path.dirname(path)
    try:
        # The class in C: what it raises, none but a signal handler raises in another module.
        connection = socket.SocketType(socket.AF_UNIX, kind)
    except OSError as error:
        if is_foreign(error):
            raise
        raise Unavailable("no socket: %s" % error) from error
    _sockets[connection] = Owned(connection.fileno())
    try:
        status = os.lstat(folder) if own_folder else os.stat(folder)
        if own_folder:
            _check_own_folder(folder, status)
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        connection.connect(path)
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        uid = _UCRED.unpack(raw)[1]
        if uid not in (0, os.getuid()) and (own_folder or uid != status.st_uid):
            raise Unavailable("%s is served by user %d, who is not trusted" % (path, uid))
        return connection
    except OSError as error:
        close(connection)
        if is_foreign(error):
            raise
        full = isinstance(error, BlockingIOError)  # the queue of those that wait to be accepted
        raise (Lost if full else Unavailable)(
            "%s: %s" % (path, error.strerror or error)
        ) from error
    except BaseException:
        close(connection)
        raise


def _check_own_folder(folder: str, status: os.stat_result) -> None:
    private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700
    if not private or status.st_uid != os.getuid():
        raise Unavailable("%s is not a folder of this account alone (mode 0700)" % folder)


def encode(message: Dict[str, Any]) -> Optional[bytes]:
    """One line, or None when it cannot be sent (too large)."""
    try:
        text = json.dumps(message, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        try:
            text = json.dumps(_plain(message, 8), separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return None
    line = text.encode("ascii") + b"\n"
    return line if len(line) <= MAX_REQUEST else None


def _plain(value: Any, depth: int) -> Any:
    """The nearest thing that JSON has: text for what it does not know, NaN included."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    if depth > 0 and isinstance(value, dict):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()}
    if depth > 0 and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth - 1) for item in value]
    try:
        return str(value)
    except Exception:  # a broken __str__ of the caller's
        return type(value).__name__


class Channel:
    """One connection: lines out (buffered, never blocking), messages in."""

    def __init__(self, connection: socket.SocketType, on_message: Callable[[Dict[str, Any]], None]):
        connection.setblocking(False)
        self.connection = connection
        self._owned = Owned(connection.fileno())
        self.unsent = bytearray()
        self._on_message = on_message
        self._received = bytearray()

    def send(self, line: bytes) -> None:
        """Queues a line; `flush` or the owner's poll loop sends it."""
        self.unsent += line

    def flush(self) -> None:
        """Sends what the socket takes now. Raises Unavailable when the connection is gone."""
        while self.unsent:
            self.check()
            try:
                sent = self.connection.send(self.unsent, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                if is_foreign(error):
                    raise
                raise Lost("connection lost: %s" % error) from error
            del self.unsent[:sent]

    def receive(self) -> None:
        """Hands over every complete message. Raises Unavailable at the end of the connection."""
        self.check()
        try:
            chunk = self.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            raise Lost("connection lost: %s" % error) from error
        if not chunk:
            raise Lost("connection closed by the agent")
        self._received += chunk
        if b"\n" not in chunk and len(self._received) <= MAX_REPLY:
            return
        *lines, rest = self._received.split(b"\n")
        if len(rest) > MAX_REPLY:
            raise Unavailable("a reply is too long")
        self._received = rest
        for line in lines:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Unavailable("a reply is not JSON") from error
            if isinstance(message, dict):
                self._on_message(message)

    def wait(self, deadline: float) -> None:
        """Moves bytes both ways once. Raises Unavailable at the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise Unavailable("the agent did not answer in time")
        poller = select.poll()
        events = select.POLLIN | (select.POLLOUT if self.unsent else 0)
        poller.register(self.connection, events)
        if poller.poll(left * 1000):
            self.flush()
            self.receive()

    def check(self) -> None:
        """Raises Unavailable when the descriptor is not ours any more."""
        if self._owned.fd < 0:
            raise Unavailable("connection lost: the program closed its descriptor")

    def abort(self) -> None:
        """Ends the connection from any thread: whoever polls it hears, and closes it."""
        try:
            self.check()
            self.connection.shutdown(socket.SHUT_RDWR)
        except (OSError, Unavailable):
            pass  # it has ended already

    def close(self) -> None:
        close(self.connection)


def offer_ring(path: str, own_folder: bool, session: str, fd: int) -> socket.SocketType:
    """Offers a ring's descriptor on the socket beside the agent's, and waits for nothing.

    Returns the connection for `hear_answer`. Raises AgentError when there is no ring any more,
    Unavailable when there is nobody.
    """
    ring_path = os.path.join(os.path.dirname(path), "ring.sock")
    if fd < 0:
        raise AgentError({"message": "ring lost: the program closed its descriptor"})
    connection = connect(ring_path, socket.SOCK_SEQPACKET, own_folder, time.monotonic())
    try:
        connection.setblocking(False)
        descriptor = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))
        connection.sendmsg([json.dumps({"session": session}).encode()], [descriptor])
    except OSError as error:
        close(connection)
        if is_foreign(error):
            raise
        raise Lost("%s: %s" % (ring_path, error)) from error
    except BaseException:
        close(connection)
        raise
    return connection


def hear_answer(connection: socket.SocketType, deadline: float) -> None:
    """What the agent says to `offer_ring`. Raises AgentError when it is no, Lost without one."""
    try:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        answer = json.loads(connection.recv(4096) or b"{}")
    except OSError as error:
        raise Lost("the ring's offer was not answered: %s" % error) from error
    except (ValueError, RecursionError) as error:
        raise Unavailable("the answer to a ring's offer is not JSON") from error
    finally:
        close(connection)
    if not isinstance(answer, dict) or answer.get("accepted") is not True:
        reason = answer.get("refused") if isinstance(answer, dict) else None
        raise AgentError({"message": "ring refused: %s" % (reason or "no reason given")})
