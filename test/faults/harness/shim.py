"""The library that is preloaded into the agent, and the page through which it is told what to do.

Compiles shim.c with cc into build/faults/; owns one page (a file) a trial. Numbers in the page are
those of struct Orders.
"""

import ctypes
import mmap
import os
import subprocess
from typing import Dict

from .paths import BUILD, HARNESS

WORDS = (
    "count", "kill_at", "kill_how", "killed", "fail_from", "fail_until", "fail_errno", "failed",
    "clock_ns",
)  # fmt: skip


class NoCompiler(Exception):
    """The library cannot be made here."""


def compiled() -> str:
    """The library's path; made anew where its source is newer."""
    source = os.path.join(HARNESS, "shim.c")
    library = os.path.join(BUILD, "shim.so")
    if os.path.exists(library) and os.path.getmtime(library) >= os.path.getmtime(source):
        return library
    os.makedirs(BUILD, exist_ok=True)
    made = "%s.%d" % (library, os.getpid())
    # No optimisation and no fortification: the wrappers must be called by these very names.
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-U_FORTIFY_SOURCE", "-o", made, source]
    try:
        done = subprocess.run(
            command + ["-ldl"], capture_output=True, text=True, timeout=120, check=False
        )
    except FileNotFoundError:
        raise NoCompiler("no cc; install gcc") from None
    if done.returncode != 0:
        raise NoCompiler("cc: %s" % done.stderr)
    os.rename(made, library)
    return library


class Orders:
    """What the shim is told, and what it tells."""

    def __init__(self, path: str, below: str) -> None:
        self._path, self._below = path, below
        with open(path, "wb") as file:
            file.truncate(mmap.PAGESIZE)
        self._file = open(path, "r+b")
        self._page = mmap.mmap(self._file.fileno(), mmap.PAGESIZE)
        self._words = (ctypes.c_int64 * len(WORDS)).from_buffer(self._page)

    def __getitem__(self, word: str) -> int:
        return int(self._words[WORDS.index(word)])

    def __setitem__(self, word: str, value: int) -> None:
        self._words[WORDS.index(word)] = value

    def environment(self) -> Dict[str, str]:
        return {
            "LD_PRELOAD": compiled(),
            "LEZEA_FAULTS_ORDERS": self._path,
            "LEZEA_FAULTS_BELOW": self._below,
        }

    def quiet(self) -> None:
        """No more faults; the clock stays where it was put."""
        self["kill_at"] = 0
        self["fail_from"] = 0

    def close(self) -> None:
        del self._words
        self._page.close()
        self._file.close()
