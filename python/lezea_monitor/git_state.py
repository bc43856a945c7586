"""Branch, commit and changes of the git repository that a program lies in.

Reads .git itself for branch and commit. What has changed only git knows: it is called from a fixed
place, with an environment of its own, and with everything switched off that a repository's
configuration could make it run: hooks, fsmonitor, filters, external diffs, transports.
"""

import hashlib
import os
import re
import subprocess
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

GIT = ("/usr/bin/git", "/usr/local/bin/git", "/bin/git")
PATH = "/usr/local/bin:/usr/bin:/bin"
OLDEST = (2, 31)  # an older one does not read the switches below from its environment
TIMEOUT_SECONDS = 10.0
MAX_OUTPUT_BYTES = 4 * 1024 * 1024  # of a list of files
MAX_DIFF_BYTES = 512 * 1024 * 1024
MAX_FILES = 100
MAX_FILTERS = 64
MAX_SUBMODULES = 64  # of one working tree
MAX_LEVELS = 4  # of submodules in submodules
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_SWITCHES = [
    ("core.fsmonitor", "false"),
    ("core.hooksPath", os.devnull),
    ("core.sshCommand", "false"),
    ("core.askPass", "false"),
    ("core.pager", "cat"),
    ("protocol.allow", "never"),
    ("submodule.recurse", "false"),
    ("maintenance.auto", "false"),
    ("gc.auto", "0"),
]


def git_state(folder: str, with_diff: bool) -> Dict[str, Any]:
    """What is known of the repository around `folder`; nothing where there is none.

    with_diff: the SHA-256 of `git diff HEAD` too, which reads every file that has changed.
    """
    found = _repository(os.path.realpath(folder))
    if found is None:
        return {}
    root, directory = found
    state = _head(directory)
    git = next((path for path in GIT if os.access(path, os.X_OK)), None)
    if git is None:
        return state
    try:
        trees = list(_trees(_Git(git, root, time.monotonic() + TIMEOUT_SECONDS)))
        state.update(_changes(trees))
        if with_diff and state.get("dirty"):
            calls = [call for _, call in trees]
            state["diff_sha256"] = _hash(calls, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--binary", "--no-color", "--no-renames", "--full-index", "--ignore-submodules=dirty")  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        pass  # too old, too slow, somebody else's: what has changed is not known
    return state


def _repository(folder: str) -> Optional[Tuple[str, str]]:
    """The working tree around a folder, and its git directory."""
    for _ in range(64):
        dot = os.path.join(folder, ".git")
        if os.path.isdir(dot):
            return folder, dot
        if os.path.isfile(dot):  # a worktree, a submodule
            text = _text(dot) or ""
            if text.startswith("gitdir: "):
                return folder, os.path.join(folder, text[len("gitdir: ") :].strip())
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    return None


def _head(directory: str) -> Dict[str, Any]:
    head = (_text(os.path.join(directory, "HEAD")) or "").strip()
    if _HASH.match(head):
        return {"commit": head}  # detached
    # refs/heads/.invalid: the references are kept in another format (reftable).
    if not head.startswith("ref: refs/") or ".." in head or head.endswith("/.invalid"):
        return {}
    reference = head[len("ref: ") :]
    state: Dict[str, Any] = {}
    if reference.startswith("refs/heads/"):
        state["branch"] = reference[len("refs/heads/") :]
    common = (_text(os.path.join(directory, "commondir")) or ".").strip()
    for place in (directory, os.path.join(directory, common)):
        commit = (_text(os.path.join(place, reference)) or "").strip()
        if not _HASH.match(commit):
            commit = _packed(place, reference)
        if commit:
            state["commit"] = commit
            break
    return state


def _packed(directory: str, reference: str) -> str:
    text = _text(os.path.join(directory, "packed-refs"), MAX_OUTPUT_BYTES) or ""
    for line in text.splitlines():
        commit, _, name = line.partition(" ")
        if name == reference and _HASH.match(commit):
            return commit
    return ""


def _trees(git: "_Git", prefix: str = "", level: int = 0) -> Iterator[Tuple[str, "_Git"]]:
    """A working tree and those of its submodules, with their paths.

    git itself would look into a submodule with what that one's configuration says.
    """
    yield prefix, git
    if level >= MAX_LEVELS:
        return
    for path in git.submodules():
        inside = os.path.join(git.root, path)
        if not os.path.realpath(inside).startswith(git.root + os.sep):
            raise ValueError("a submodule that is outside")
        if os.path.exists(os.path.join(inside, ".git")):  # else nothing was checked out
            yield from _trees(git.inside(inside), prefix + path + "/", level + 1)


def _changes(trees: List[Tuple[str, "_Git"]]) -> Dict[str, Any]:
    files: List[str] = []
    for prefix, git in trees:
        listed = git.read("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=dirty")  # fmt: skip
        entries = listed.split(b"\0")
        files += [prefix + entry[3:].decode("utf-8", "replace") for entry in entries if entry]
    state: Dict[str, Any] = {"dirty": bool(files)}
    if files:
        state["dirty_files"] = files[:MAX_FILES]
        state["dirty_files_count"] = len(files)
    return state


def _hash(calls: List["_Git"], *arguments: str) -> str:
    """SHA-256 of what each of them writes, one after the other."""
    digest = hashlib.sha256()
    for call in calls:
        for piece in call.pieces(*arguments):
            digest.update(piece)
    return digest.hexdigest()


class _Git:
    """A git whose repository decides nothing. Raises OSError, ValueError or SubprocessError."""

    def __init__(self, path: str, root: str, until: float) -> None:
        """until: CLOCK_MONOTONIC, seconds; what is not done by then is not done."""
        self._path, self.root, self._until = path, root, until
        self._switches = list(_SWITCHES)
        version = re.match(rb"git version (\d+)\.(\d+)", self.read("version"))
        if version is None or tuple(map(int, version.groups())) < OLDEST:
            raise ValueError("git is older than %d.%d" % OLDEST)
        self._switches += self._without_filters()

    def _without_filters(self) -> List[Tuple[str, str]]:
        """To compare contents git would run these."""
        wanted = r"^filter\..*\.(clean|smudge|process|required)$"
        try:
            listed = self.read("config", "--null", "--name-only", "--get-regexp", wanted)
        except subprocess.CalledProcessError:  # exit status 1: there are none
            return []
        names = {name.decode("utf-8", "surrogateescape") for name in listed.split(b"\0") if name}
        if len(names) > MAX_FILTERS:
            raise ValueError("%d filters" % len(names))
        return [(name, "false" if name.endswith(".required") else "") for name in sorted(names)]

    def _environment(self) -> Dict[str, str]:
        environment = {
            "PATH": PATH,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_CONFIG_COUNT": str(len(self._switches)),
        }
        for number, (key, value) in enumerate(self._switches):
            environment["GIT_CONFIG_KEY_%d" % number] = key
            environment["GIT_CONFIG_VALUE_%d" % number] = value
        return environment

    def read(self, *arguments: str) -> bytes:
        return b"".join(self._output(arguments, MAX_OUTPUT_BYTES))

    def pieces(self, *arguments: str) -> Iterator[bytes]:
        """What it writes, which may be much."""
        return self._output(arguments, MAX_DIFF_BYTES)

    def inside(self, root: str) -> "_Git":
        return _Git(self._path, os.path.realpath(root), self._until)

    def submodules(self) -> List[str]:
        """Their paths, as .gitmodules says."""
        if not os.path.isfile(os.path.join(self.root, ".gitmodules")):
            return []
        wanted = r"^submodule\..*\.path$"
        try:
            listed = self.read("config", "--file", ".gitmodules", "--null", "--get-regexp", wanted)
        except subprocess.CalledProcessError:  # exit status 1: there are none
            return []
        paths = [entry.partition(b"\n")[2] for entry in listed.split(b"\0") if entry]
        if len(paths) > MAX_SUBMODULES:
            raise ValueError("%d submodules" % len(paths))
        return sorted({path.decode("utf-8", "surrogateescape") for path in paths if path})

    def _output(self, arguments: Tuple[str, ...], most: int) -> Iterator[bytes]:
        command = [self._path, "--no-optional-locks", "--no-pager", *arguments]
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            close_fds=True,
            start_new_session=True,  # Ctrl-C is for the program
        ) as process:
            try:
                yield from self._pieces(process, most)
                status = process.wait(max(0.1, self._until - time.monotonic()))
            except BaseException:
                process.kill()
                raise
            if status != 0:
                raise subprocess.CalledProcessError(status, command)

    def _pieces(self, process: Any, most: int) -> Iterator[bytes]:
        import select

        poller = select.poll()
        poller.register(process.stdout, select.POLLIN)
        while True:
            left = self._until - time.monotonic()
            if left <= 0 or not poller.poll(left * 1000):
                raise subprocess.TimeoutExpired(self._path, TIMEOUT_SECONDS)
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                return
            most -= len(piece)
            if most < 0:
                raise ValueError("too much output")
            yield piece


def _text(path: str, most: int = 65536) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return None
