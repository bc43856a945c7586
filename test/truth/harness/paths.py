"""Where things are: the checkout under test, and the folder that workloads may write to."""

import os
import tempfile

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
COMMAND = ["node", os.path.join(REPOSITORY, "bin", "lezea-monitor.js")]
PYTHON_CLIENT = os.path.join(REPOSITORY, "python")
WORKLOADS = os.path.join(REPOSITORY, "test", "truth", "workloads")

_MEMORY_FILESYSTEMS = ("tmpfs", "ramfs", "overlay", "squashfs")


def filesystem_of(path: str) -> str:
    """The type of the filesystem that holds `path`, from /proc/self/mountinfo."""
    path = os.path.realpath(path)
    best, kind = "", "?"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            left, _, right = line.partition(" - ")
            point = left.split()[4].encode().decode("unicode_escape")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, right.split()[0]
    return kind


def disk_folder() -> "tuple[str, str]":
    """A folder whose files are on a disk, and '' - or '' and why there is none."""
    seen = []
    for folder in (tempfile.gettempdir(), "/var/tmp", os.getcwd()):
        kind = filesystem_of(folder)
        if kind not in _MEMORY_FILESYSTEMS and os.access(folder, os.W_OK):
            return folder, ""
        seen.append("%s is %s" % (folder, kind))
    return "", "no folder on a disk to write to (%s)" % ", ".join(seen)
