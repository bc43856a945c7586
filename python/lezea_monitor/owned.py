"""Descriptors that are used only while they are still ours.

A program that becomes a daemon closes every number there is, and those it opens next are the same
numbers: what we would write, send or close then would be its own. So a number is compared with
the file that it was made for, each time; when it is another's, every use of it is EBADF.
"""

import os
from typing import Optional, Tuple

from .foreign import is_foreign


class Owned:
    """One descriptor and the file that it stands for."""

    __slots__ = ("_fd", "_file")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._file = _file_of(fd)

    @property
    def fd(self) -> int:
        """The number; -1 when it was closed, by us or by somebody else."""
        fd = self._fd
        return fd if fd >= 0 and _file_of(fd) == self._file else -1

    def close(self) -> bool:
        """Closes it; False when there was nothing of ours to close."""
        fd = self.fd
        self._fd = -1
        if fd >= 0:
            os.close(fd)
        return fd >= 0


def _file_of(fd: int) -> Optional[Tuple[int, int]]:
    try:
        status = os.fstat(fd)
    except OSError as error:
        if is_foreign(error):
            raise
        return None
    return status.st_dev, status.st_ino


class Alarm:
    """A pipe that ends a thread's poll. Never blocks."""

    def __init__(self) -> None:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._read, self._write = Owned(read), Owned(write)

    @property
    def fd(self) -> int:
        """What to poll for reading; -1 when the pipe is not whole any more."""
        return self._read.fd if self._write.fd >= 0 else -1

    def ring(self) -> None:
        try:
            os.write(self._write.fd, b"\0")
        except OSError as error:
            # Full of wake-ups, so it will wake; or closed, which ends the poll as well.
            if is_foreign(error):
                raise

    def silence(self) -> None:
        try:
            os.read(self._read.fd, 4096)
        except OSError:
            pass  # closed: `fd` says so the next time

    def close(self) -> None:
        self._read.close()
        self._write.close()
