"""cgroup v2 leaves to hold workloads: the kernel's own account of what runs in them.

Reads /proc/self/mountinfo and /proc/self/cgroup; makes and removes folders below the cgroup of
this process, or below the one that LEZEA_TRUTH_CGROUP names (delegated to this account).
"""

import os
import signal
import time
from typing import List, Optional

DELEGATED = "LEZEA_TRUTH_CGROUP"


class NoCgroup(Exception):
    """Why no cgroup can be had."""


def mount() -> Optional[str]:
    """Where the unified hierarchy is mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            left, _, right = line.partition(" - ")
            if right.split()[0] == "cgroup2":
                return left.split()[4]
    return None


def parent() -> str:
    """The folder below which leaves are made. Raises NoCgroup."""
    delegated = os.environ.get(DELEGATED)
    if delegated:
        return delegated
    at = mount()
    if at is None:
        raise NoCgroup("no cgroup v2 hierarchy is mounted")
    with open("/proc/self/cgroup", encoding="utf-8") as lines:
        own = next((line[3:].strip() for line in lines if line.startswith("0::")), "/")
    folder = at + (own if own != "/" else "")
    if not os.access(os.path.join(folder, "cgroup.procs"), os.W_OK):
        raise NoCgroup(
            "%s is not writable by this account: run it under "
            "`systemd-run --user --scope -p Delegate=yes`, or as root" % folder
        )
    return folder


class Leaf:
    """One cgroup; what is still in it is killed when it is removed."""

    def __init__(self, name: str) -> None:
        self.path = os.path.join(parent(), "lezea-truth-%s-%d" % (name, os.getpid()))
        try:
            os.mkdir(self.path)
        except OSError as error:
            raise NoCgroup("mkdir %s: %s" % (self.path, error.strerror)) from error

    @classmethod
    def at(cls, path: str) -> "Leaf":
        """One that is there already."""
        leaf = cls.__new__(cls)
        leaf.path = path
        return leaf

    @property
    def cpu_stat(self) -> str:
        return os.path.join(self.path, "cpu.stat")

    def enter(self) -> None:
        """Moves the calling process in; for a child before it execs."""
        with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write("0")

    def members(self) -> List[int]:
        with open(os.path.join(self.path, "cgroup.procs"), encoding="ascii") as procs:
            return [int(line) for line in procs]

    def remove(self) -> None:
        deadline = time.monotonic() + 5
        while True:
            for pid in self.members():
                os.kill(pid, signal.SIGKILL)
            try:
                os.rmdir(self.path)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def delegate(uid: int, gid: int) -> "tuple[str, str]":
    """As root: a cgroup that `uid` may divide, and a leaf of it to start in."""
    top = os.path.join(parent(), "lezea-truth-user-%d" % os.getpid())
    start = os.path.join(top, "harness")
    os.mkdir(top)
    os.mkdir(start)
    for folder in (top, start):
        for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            os.chown(os.path.join(folder, name), uid, gid)
    return top, start
