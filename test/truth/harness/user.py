"""Running the harness once more as an ordinary user, started by root.

Makes that user a folder and, where the kernel lets us, a cgroup of its own to divide (what
`systemd-run --user -p Delegate=yes` would give); removes both.
"""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
from typing import List

from . import cgroup
from .cgroup import Leaf, NoCgroup

PASSED_ON = ("PATH", "LANG", "LC_ALL", "TERM")


def python_for_anybody() -> str:
    """A Python that any account can run: this one, unless it lies in somebody's home."""
    for python in (sys.executable, os.path.realpath(sys.executable), "/usr/bin/python3"):
        folders = list(pathlib.Path(python).resolve().parents) + list(pathlib.Path(python).parents)
        if all(folder.stat().st_mode & stat.S_IXOTH for folder in folders):
            return python
    return "python3"


def run_as(uid: int, arguments: List[str]) -> int:
    """Runs Python as `uid`, with no groups and no capabilities; its exit status."""
    folder = tempfile.mkdtemp(prefix="lezea-truth-user-")
    os.chown(folder, uid, uid)
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment.update(HOME=folder, TMPDIR=folder, PYTHONDONTWRITEBYTECODE="1")
    start = None
    try:
        try:
            top, start = cgroup.delegate(uid, uid)
            environment[cgroup.DELEGATED] = top
        except (NoCgroup, OSError) as error:
            print("no cgroup for user %d: %s" % (uid, error), file=sys.stderr)
        ids = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
        return subprocess.call(
            ["setpriv", *ids, "--inh-caps=-all", "--", python_for_anybody(), *arguments],
            env=environment,
            preexec_fn=None if start is None else lambda: _enter(start),
        )
    finally:
        if start is not None:
            for path in (start, os.path.dirname(start)):
                Leaf.at(path).remove()
        shutil.rmtree(folder, ignore_errors=True)


def _enter(folder: str) -> None:
    with open(os.path.join(folder, "cgroup.procs"), "w", encoding="ascii") as procs:
        procs.write("0")
