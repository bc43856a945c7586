"""What lies between an agent and the MLflow server: one listener a trial, which does harm on order.

Reads whole requests, hands them to the server and its answers back; owns the listener and its
threads. A harm is done to some requests in a row: their numbers are known before the trial.
"""

import http.client
import http.server
import socket
import struct
import threading
import time
from typing import Any, Optional

UPSTREAM_SECONDS = 60
#: Longer than the agent's own patience with a request.
HANG_SECONDS = 4
HARMS = (
    "429", "500", "503", "403", "413", "hang", "hang-after", "drop", "commit-drop", "cut",
    "cut-upload", "html",
)  # fmt: skip


class Proxy:
    """Passes everything on, but for what `harm` was told."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        #: Requests that harm was done to.
        self.harmed = 0
        self._requests = 0
        self._harm = ""
        self._harms = range(0)
        self._size = 0
        # Keeps the port while nobody listens: connections are refused then.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port = int(self._holder.getsockname()[1])
        self._server: Optional[_Server] = None
        self._lock = threading.Lock()
        self.listen()

    @property
    def address(self) -> str:
        return "http://127.0.0.1:%d" % self.port

    def harm(self, what: str, after: int, count: int, size: int = 0) -> None:
        """To `count` requests after the next `after`; a 413 only to what is more than `size` bytes."""
        with self._lock:
            self._harm, self._size = what, size
            self._harms = range(self._requests + after, self._requests + after + count)

    def quiet(self) -> None:
        with self._lock:
            self._harms = range(0)
        self.listen()

    def harm_to_next(self, size: int) -> str:
        """What is to be done to a request that has come; "": nothing."""
        with self._lock:
            number = self._requests
            self._requests += 1
            if number not in self._harms or (self._harm == "413" and size <= self._size):
                return ""
            self.harmed += 1
            return self._harm

    def refuse(self) -> None:
        """Nobody listens, until `listen`."""
        self.harmed += 1
        self._end()

    def listen(self) -> None:
        with self._lock:
            if self._server is None:
                self._server = _Server(self)

    def _end(self) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.end()

    def close(self) -> None:
        self._end()
        self._holder.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.open = set()
        super().__init__(("127.0.0.1", proxy.port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Closes what is kept open too, as a server that goes away does."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            _reset(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the agent, or this end, went away in the middle


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, *_: Any) -> None:
        pass

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        harm = self.server.proxy.harm_to_next(len(body))
        getattr(self, "_do_" + (harm or "pass").replace("-", "_"))(body)

    do_GET = do_POST = do_PUT = do_PATCH = _any

    def _do_pass(self, body: bytes) -> None:
        try:
            self._answer(*self._forward(body))
        except (OSError, http.client.HTTPException):
            self._answer(502, "text/plain", b"the server is away")

    def _forward(self, body: bytes) -> "tuple[int, str, bytes]":
        port = self.server.proxy.upstream_port
        upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=UPSTREAM_SECONDS)
        try:
            headers = {"content-type": self.headers.get("content-type", "")}
            has_body = self.command != "GET"
            upstream.request(self.command, self.path, body if has_body else None, headers)
            answer = upstream.getresponse()
            return answer.status, answer.headers.get("content-type", ""), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        _reset(self.connection)

    def _do_429(self, _: bytes) -> None:
        word = b'{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"too many"}'
        self._answer(429, "application/json", word, retry_after="1")

    def _do_500(self, _: bytes) -> None:
        self._answer(500, "application/json", b'{"error_code":"INTERNAL_ERROR","message":"no"}')

    def _do_503(self, _: bytes) -> None:
        self._answer(503, "text/html", b"<html>Service Unavailable</html>", retry_after="0")

    def _do_403(self, _: bytes) -> None:
        self._answer(403, "text/plain", b"Invalid Host header - possible DNS rebinding attack")

    def _do_413(self, _: bytes) -> None:
        self._answer(413, "text/html", b"<html>Request Entity Too Large</html>")

    def _do_html(self, _: bytes) -> None:
        """Something else answers, and well, as a login page does."""
        self._answer(200, "text/html", b"<html>Please log in</html>")

    def _do_hang(self, _: bytes) -> None:
        time.sleep(HANG_SECONDS)
        self._hang_up()

    def _do_hang_after(self, body: bytes) -> None:
        """Done, and nobody is told."""
        self._quietly(body)
        time.sleep(HANG_SECONDS)
        self._hang_up()

    def _do_drop(self, _: bytes) -> None:
        self._hang_up()

    def _do_commit_drop(self, body: bytes) -> None:
        self._quietly(body)
        self._hang_up()

    def _quietly(self, body: bytes) -> None:
        try:
            self._forward(body)
        except (OSError, http.client.HTTPException):
            pass  # the server is being restarted: then it did nothing, which is as well

    def _do_cut(self, body: bytes) -> None:
        """Closes in the middle of the answer."""
        try:
            status, kind, text = self._forward(body)
        except (OSError, http.client.HTTPException):
            return self._hang_up()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text) + 1))
        self.end_headers()
        self.wfile.write(text[: len(text) // 2])
        self._hang_up()

    def _do_cut_upload(self, body: bytes) -> None:
        """The server gets the beginning of what it is sent."""
        head = "%s %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
        port = self.server.proxy.upstream_port
        kind = self.headers.get("content-type", "")
        head = head % (self.command, self.path, port, kind, len(body))
        try:
            with socket.create_connection(("127.0.0.1", port), UPSTREAM_SECONDS) as upstream:
                upstream.sendall(head.encode("latin-1") + body[: len(body) // 2])
        except OSError:
            pass  # nothing of it came through
        self._hang_up()


def _reset(connection: socket.socket) -> None:
    """Closes without a good-bye."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # closed already
