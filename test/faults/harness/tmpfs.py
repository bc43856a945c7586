"""A small file system in memory as a disk that can really be full. Root only; owns the mount."""

import contextlib
import os
import subprocess
import tempfile
from typing import Iterator

SIZE_KIB = 8192


def mountable() -> str:
    """'' or why not."""
    if os.geteuid() != 0:
        return "only root can mount a disk to fill"
    here = os.path.join(tempfile.gettempdir(), "lezea-faults-probe-%d" % os.getpid())
    try:
        with tmpfs(here):
            return ""
    except subprocess.CalledProcessError as error:
        return "this machine lets nobody mount a tmpfs: %s" % error
    finally:
        os.rmdir(here)


@contextlib.contextmanager
def tmpfs(folder: str) -> Iterator[str]:
    os.makedirs(folder)
    options = "size=%dk,mode=0700" % SIZE_KIB
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "lezea-faults", folder],
        check=True, capture_output=True,
    )  # fmt: skip
    try:
        yield folder
    finally:
        # Lazily: a process that was just killed may hold it for a moment yet.
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: str, left_kib: int) -> str:
    """Writes a file that leaves so much; its path."""
    ballast = os.path.join(folder, "ballast")
    free = os.statvfs(folder)
    size = max(0, free.f_bavail * free.f_frsize - left_kib * 1024)
    with open(ballast, "wb") as file:
        with contextlib.suppress(OSError):  # the agent wrote meanwhile: then it is full, as wanted
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    return ballast
