"""The agent's socket protocol, spoken by itself: the harness does not trust the clients it tests.

Reads and writes one Unix socket; owns the connection.
"""

import json
import socket
from typing import Any, Dict


class Refused(Exception):
    """The agent answered with an error; `code` is its stable word."""

    def __init__(self, method: str, error: Dict[str, Any]) -> None:
        super().__init__("%s: %s" % (method, error.get("message")))
        self.code = str((error.get("data") or {}).get("code", error.get("code")))


class Connection:
    """One connection. Raises OSError when the agent is gone or says nothing in time."""

    def __init__(self, path: str, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._replies = None
        self._asked = 0
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
            self._replies = self._socket.makefile("rb")
            self.ask("hello", {"client": "faults", "version": "1", "protocols": [1]})
        except BaseException:
            self.close()
            raise

    def ask(self, method: str, params: Dict[str, Any]) -> Dict[str, Any]:
        self._asked += 1
        request = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        self._socket.sendall((json.dumps(request) + "\n").encode())
        assert self._replies is not None
        for line in self._replies:
            if not line.endswith(b"\n"):
                break  # the agent died in the middle of its answer
            reply = json.loads(line)
            if reply.get("id") != self._asked:
                continue
            if "error" in reply:
                raise Refused(method, reply["error"])
            return reply["result"]
        raise ConnectionResetError("%s: the agent closed the connection" % method)

    def close(self) -> None:
        if self._replies is not None:
            self._replies.close()
        self._socket.close()


def ask(path: str, method: str, params: Dict[str, Any], timeout: float = 10) -> Dict[str, Any]:
    """One request on a connection of its own."""
    connection = Connection(path, timeout)
    try:
        return connection.ask(method, params)
    finally:
        connection.close()
