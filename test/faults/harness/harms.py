"""What is done to a request on its way to the MLflow server and back: one method a harm.

Reads a whole request and the proxy's word on it; owns the connection it came on.
"""

import http.client
import http.server
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .proxy import Server

UPSTREAM_SECONDS = 60
#: Longer than the agent's own patience with a request.
HANG_SECONDS = 4
HARMS = (
    "429", "500", "503", "403", "413", "hang", "hang-after", "drop", "commit-drop", "cut",
    "cut-upload", "html",
)  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

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
        reset(self.connection)

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
        lines = ("%s %s HTTP/1.1", "host: 127.0.0.1:%d", "content-type: %s", "content-length: %d")
        port = self.server.proxy.upstream_port
        kind = self.headers.get("content-type", "")
        head = "\r\n".join((*lines, "", "")) % (self.command, self.path, port, kind, len(body))
        try:
            with socket.create_connection(("127.0.0.1", port), UPSTREAM_SECONDS) as upstream:
                upstream.sendall(head.encode("latin-1") + body[: len(body) // 2])
        except OSError:
            pass  # nothing of it came through
        self._hang_up()


def reset(connection: socket.socket) -> None:
    """Closes without a good-bye."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # closed already
