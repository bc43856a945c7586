"""A service manager as far as an agent needs one: what it says, and the descriptors that it has kept for it.

Owns the socket, and a duplicate of each descriptor that was to be kept, as systemd does with FDSTORE=1.
"""

import fcntl
import os
import select
import socket
import subprocess
import tempfile
import threading
from typing import Any, Dict, List, Tuple

FIRST_PASSED = 3
MOST_FDS = 4
LOOK_SECONDS = 0.1  # how often its thread looks whether it is to end


class Manager:
    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="lezea-truth-manager-")
        self._path = os.path.join(self._folder, "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._socket.setblocking(False)  # recv_fds drops the flags that it is given
        self._kept: List[Tuple[str, int]] = []
        self._taking = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def popen(self, command: List[str], **options: Any) -> "subprocess.Popen[bytes]":
        """The service, which is passed what was kept."""
        self._take_all()  # whoever was before has ended: all that it said is here
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
            if select.select([self._socket], [], [], LOOK_SECONDS)[0]:
                self._take_all()

    def _take_all(self) -> None:
        with self._taking:
            while True:
                try:
                    message, fds, _, _ = socket.recv_fds(self._socket, 4096, MOST_FDS)
                except BlockingIOError:
                    return
                self._take(message, fds)

    def _take(self, message: bytes, fds: List[int]) -> None:
        lines = dict(line.split("=", 1) for line in message.decode().splitlines())
        name = lines.get("FDNAME", "stored")
        if "FDSTOREREMOVE" in lines:
            for kept in [kept for kept in self._kept if kept[0] == name]:
                self._kept.remove(kept)
                os.close(kept[1])
        for fd in fds:
            if self._has(fd):
                os.close(fd)
            else:
                self._kept.append((name, fd))

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
