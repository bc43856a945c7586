"""A small agent for tests: real sockets, real descriptors, records read as the protocol says.

Owns a folder with agent.sock and ring.sock and the threads that serve them. It measures nothing;
it keeps what it was told (`calls`, `scopes`) and the rings it was offered. `kill` is what a
crash looks like to clients; `start` on the same object is the restart.
"""

import array
import fcntl
import json
import os
import shutil
import socket
import struct
import tempfile
import threading
import time

SEALS = 2 | 4 | 1  # F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL
F_GET_SEALS = 1034


class Record:
    """One ring record, decoded."""

    def __init__(self, raw, lane, index):
        fields = struct.unpack("<QQIIBBHI", raw)
        self.t, self.value, self.scope, self.tid = fields[:4]
        self.kind, self.device, self.flags, self.seq = fields[4:]
        self.lane, self.index = lane, index

    def __repr__(self):
        return "Record(%s)" % self.__dict__


class OfferedRing:
    """A ring as the agent sees it: a descriptor, read with pread only."""

    def __init__(self, fd, session):
        self.fd, self.session = fd, session
        status = os.fstat(fd)
        self.inode, self.size = status.st_ino, status.st_size
        assert fcntl.fcntl(fd, F_GET_SEALS) & SEALS == SEALS, "not sealed"
        header = os.pread(fd, 28, 0)
        magic, version, size, self.lanes, self.capacity, self.first = struct.unpack(
            "<8sIIIII", header
        )
        assert (magic, version, size) == (b"LZSCOPE1", 1, 32)
        assert self.first == (4096 + 64 * self.lanes + 4095) // 4096 * 4096
        assert self.size == self.first + self.lanes * self.capacity * 32

    def head(self, lane):
        return struct.unpack("<Q", os.pread(self.fd, 8, 4096 + 64 * lane))[0]

    def lane_records(self, lane):
        head = self.head(lane)
        records = []
        for n in range(max(0, head - self.capacity), head):
            offset = self.first + (lane * self.capacity + n % self.capacity) * 32
            record = Record(os.pread(self.fd, 32, offset), lane, n)
            assert record.seq == (n + 1) & 0xFFFFFFFF, record
            assert record.t > 0
            records.append(record)
        return records

    def records(self):
        return [r for lane in range(self.lanes) for r in self.lane_records(lane)]


class FakeAgent:
    """Serves one folder. `replies` overrides the result (or error) of a method."""

    def __init__(self, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="lz-agent-")
        self.path = os.path.join(self.folder, "agent.sock")
        self.calls = []  # (method, params), in order of arrival
        self.scopes = {}  # session token -> {id: definition}
        self.rings = []
        self.runs = set()
        self.replies = {}
        self.delay = 0.0  # seconds before every reply
        self.full = 0  # so many connections are closed as soon as they are accepted
        self.stalled = threading.Event()  # set: reads nothing and answers nothing
        self.changed = threading.Condition()
        self._sockets = []
        self._sessions = 0
        self._clients = []  # connections with a session
        self.start()

    def start(self):
        self._alive = True
        self._listen(self.path, socket.SOCK_STREAM, self._serve)
        self._listen(os.path.join(self.folder, "ring.sock"), socket.SOCK_SEQPACKET, self._ring)

    def _listen(self, path, kind, serve):
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind(path)
        listener.listen(64)
        self._sockets.append(listener)
        self._thread(self._accept, listener, serve)

    @staticmethod
    def _thread(target, *args):
        threading.Thread(target=target, args=args, daemon=True).start()

    def _accept(self, listener, serve):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            self._sockets.append(connection)
            if not self._alive or self.full:
                self.full = max(0, self.full - 1)
                connection.close()  # accepted during kill, or one too many
                continue
            self._thread(serve, connection)

    def kill(self):
        """Closes everything at once; the socket files stay, as after SIGKILL."""
        self._alive = False
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # never connected, or gone already
            one.close()

    def close(self):
        self.kill()
        for ring in self.rings:
            os.close(ring.fd)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serve(self, connection):
        with connection:
            self._read(connection)

    def _read(self, connection):
        rest = b""
        while True:
            while self.stalled.is_set() and self._alive:
                time.sleep(0.01)
            try:
                chunk = connection.recv(65536)
            except OSError:
                return
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            assert len(rest) <= 65536
            for line in lines:
                assert len(line) < 65536
                self._handle(connection, json.loads(line))

    def _handle(self, connection, message):
        method, params = message["method"], message["params"]
        reply = self._answer(method, params)
        with self.changed:
            self.calls.append((method, params))
            self.changed.notify_all()
        if method == "session.open":
            self._clients.append(connection)
        if "id" in message:
            if self.delay:
                time.sleep(self.delay)
            body = {"jsonrpc": "2.0", "id": message["id"]}
            refused = isinstance(reply, dict) and "error" in reply
            body.update(reply if refused else {"result": reply})
            try:
                connection.sendall(json.dumps(body).encode() + b"\n")
            except OSError:
                pass  # the client went away

    def _answer(self, method, params):
        if method in self.replies:
            reply = self.replies[method]
            return reply(params) if callable(reply) else reply
        if method == "hello":
            return {"server": "lezea-monitor", "protocol": 1, "features": ["ring"]}
        if method == "run.start":
            run_id = params.get("run_id", "made-by-agent")
            created = run_id not in self.runs
            self.runs.add(run_id)
            return {"run_id": run_id, "created": created}
        if method == "run.get" and params["run_id"] not in self.runs:
            return error("unknown_run", "no such run")
        if method == "session.open":
            if params["run_id"] not in self.runs:
                return error("unknown_run", "no such run")
            self._sessions += 1
            token = "%032x" % self._sessions
            self.scopes[token] = {}
            return {"session": token}
        if method == "scope.define":
            known = self.scopes[params["session"]]
            for scope in params["scopes"]:
                assert scope["parent"] == 0 or scope["parent"] in known, "child before parent"
                known[scope["id"]] = scope
        if method == "run.end":
            return {"final": True, "totals": {"cpu_seconds": 1.5}}
        return {}

    def _ring(self, connection):
        with connection:
            self._take_ring(connection)

    def _take_ring(self, connection):
        data, ancillary, flags, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(payload[: len(payload) - len(payload) % 4])
        if "ring" in self.replies:
            for fd in fds:
                os.close(fd)
            connection.send(json.dumps(self.replies["ring"]).encode())
        else:
            session = json.loads(data)["session"]
            assert session in self.scopes and len(fds) == 1
            ring = OfferedRing(fds[0], session)
            with self.changed:
                self.rings.append(ring)
                self.changed.notify_all()
            connection.send(b'{"accepted":true}')

    def tell(self, method, params):
        """A notification to every client that has a session."""
        line = json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()
        for client in self._clients:
            try:
                client.sendall(line + b"\n")
            except OSError:
                pass  # it went away

    def wait(self, condition, timeout=10.0):
        """Waits until `condition()` is true; the tests' only way to wait."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError("timed out: %s" % [call[0] for call in self.calls])
                self.changed.wait(min(left, 0.05))

    def called(self, method):
        """Parameters of every call of a method so far."""
        with self.changed:
            return [params for name, params in self.calls if name == method]

    def path_of(self, session, scope):
        """The path of a client's scope id; '' for 0."""
        steps = []
        while scope:
            self.wait(lambda: scope in self.scopes[session])
            definition = self.scopes[session][scope]
            steps.append("%s:%s" % (definition["level"], definition["name"]))
            scope = definition["parent"]
        return "/".join(reversed(steps))

    def switches(self, tid=None):
        """[(path, is an activation)] of every switch record, in order of time."""
        found = []
        for ring in {ring.inode: ring for ring in self.rings}.values():
            for record in ring.records():
                if record.kind == 0 and (tid is None or record.tid == tid):
                    found.append((record.t, ring, record))
        found.sort(key=lambda item: item[0])
        return [
            (self.path_of(ring.session, record.scope), record.flags & 1)
            for _, ring, record in found
        ]


def error(code, message):
    """An error reply with a stable word."""
    return {"error": {"code": -32000, "message": message, "data": {"code": code}}}
