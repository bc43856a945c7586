"""A service manager as far as an agent needs one: what it says, and the descriptors that it has kept for it.

Owns the socket, and a duplicate of each descriptor that was to be kept, as systemd does with FDSTORE=1.
"""

import fcntl
import os
import socket
import subprocess
import tempfile
import threading
import time
from typing import Any, Dict, List, Tuple

FIRST_PASSED = 3
MOST_FDS = 4
SETTLE_SECONDS = 0.2


class Manager:
    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="lezea-truth-manager-")
        self._path = os.path.join(self._folder, "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._kept: List[Tuple[str, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._socket.settimeout(SETTLE_SECONDS / 2)
        self._thread.start()

    @property
    def names(self) -> List[str]:
        return [name for name, _ in self._kept]

    def popen(self, command: List[str], **options: Any) -> "subprocess.Popen[bytes]":
        """The service, which is passed what was kept."""
        time.sleep(SETTLE_SECONDS)  # what the one before said last is under way
        kept = list(self._kept)
        environment: Dict[str, str] = {**os.environ, "NOTIFY_SOCKET": self._path}
        if kept:
            environment["LISTEN_FDS"] = str(len(kept))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in kept)
            command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"] + command

        def pass_on() -> None:
            above = FIRST_PASSED + len(kept)
            copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, above) for _, fd in kept]
            for index, fd in enumerate(copies):
                os.dup2(fd, FIRST_PASSED + index)
                os.close(fd)

        return subprocess.Popen(
            command, env=environment, close_fds=False, preexec_fn=pass_on, **options
        )

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                message, fds, _, _ = socket.recv_fds(self._socket, 4096, MOST_FDS)
            except socket.timeout:
                continue
            lines = dict(line.split("=", 1) for line in message.decode().splitlines())
            name = lines.get("FDNAME", "stored")
            if "FDSTOREREMOVE" in lines:
                for kept in [kept for kept in self._kept if kept[0] == name]:
                    self._kept.remove(kept)
                    os.close(kept[1])
            elif "FDSTORE" in lines:
                self._kept += [(name, fd) for fd in fds if not self._has(fd)]

    def _has(self, fd: int) -> bool:
        wanted = os.fstat(fd)
        return any(os.path.samestat(wanted, os.fstat(kept)) for _, kept in self._kept)

    def remove(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()
        for _, fd in self._kept:
            os.close(fd)
        os.unlink(self._path)
        os.rmdir(self._folder)
