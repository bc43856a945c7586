"""What lies between an agent and the MLflow server: one listener a trial, which does harm on order.

Reads whole requests, hands them to the server and its answers back; owns the listener and its
threads. A harm is done to some requests in a row: their numbers are known before the trial.
"""

import http.server
import socket
import threading
from typing import Any, Optional

from .harms import Handler, reset

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
        self._server: Optional[Server] = None
        self._lock = threading.Lock()
        self.listen()

    @property
    def address(self) -> str:
        return "http://127.0.0.1:%d" % self.port

    def harm(self, what: str, after: int, count: int, size: int = 0) -> None:
        """To `count` requests after the next `after`; a 413 only to more than `size` bytes."""
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
                self._server = Server(self)

    def _end(self) -> None:
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.end()

    def close(self) -> None:
        self._end()
        self._holder.close()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.open = set()
        super().__init__(("127.0.0.1", proxy.port), Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Closes what is kept open too, as a server that goes away does."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            reset(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the agent, or this end, went away in the middle
