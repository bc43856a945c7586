"""A receiver of webhooks that is away for a while now and then, as trackers are."""

import http.server
import json
import threading
from typing import Any, Dict, List, Set


class Receiver:
    """Takes every id once. Owns the server's thread until stop()."""

    def __init__(self) -> None:
        self.away = False
        self.refused = 0
        self._taken: Set[str] = set()
        self._lines: Dict[str, List[Dict[str, Any]]] = {}
        self._lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver._take(self.headers["webhook-id"], body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = "http://127.0.0.1:%d/soak" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, message: str, body: bytes) -> int:
        with self._lock:
            if self.away:
                self.refused += 1
                return 503
            if message not in self._taken:
                self._taken.add(message)
                for line in map(json.loads, body.splitlines()):
                    self._lines.setdefault(line["run_id"], []).append(line)
        return 204

    def whole(self) -> Set[str]:
        """Ids of the runs of which every line has come."""
        with self._lock:
            return {run for run, lines in self._lines.items() if _is_whole(lines)}

    def doubled(self) -> List[str]:
        """Ids of the runs of which a line has come twice."""
        with self._lock:
            return [
                run
                for run, lines in self._lines.items()
                if len({(line["delivery"], line["line"]) for line in lines}) != len(lines)
            ]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _is_whole(lines: List[Dict[str, Any]]) -> bool:
    ends = [line["lines"] for line in lines if line["type"] == "end"]
    return len(ends) == 1 and len(lines) == ends[0]
