"""A whole Debian in a folder, booted by systemd-nspawn: its own PID 1, accounts, services and journal.

A container is a child PID namespace: the kernel tells it of no task's end (taskstats), and the agent
in it goes by its fallbacks. Owns the folder and the container until remove().
"""

import os
import shutil
import subprocess
import time
from typing import List, Optional

BOOT_SECONDS = 60
COMMAND_SECONDS = 120
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a machine that people work on has beside the smallest Debian; Python for the client.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "procps", "python3")


NSPAWN = ("--quiet", "--register=no", "--keep-unit", "--private-network")


class BootFailed(Exception):
    """The machine did not come up, or a command that must work did not; carries what was said."""


def make_base(folder: str, suite: str) -> None:
    """A Debian to copy from; kept for the next time. Whole, or not there at all."""
    if os.path.exists(folder):
        return
    begun = folder + ".new"
    shutil.rmtree(begun, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", "--include=" + ",".join(PACKAGES), suite, begun]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BootFailed("debootstrap: " + (done.stdout + done.stderr)[-500:])
    os.rename(begun, folder)


def starts_containers(base: str) -> bool:
    """Whether this machine lets a container begin at all; one that may and does not boot is a fault."""
    command = ["systemd-nspawn", *NSPAWN, "--directory=" + base, "/bin/true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def first_process(nspawn: int) -> int:
    """PID 1 of the container that this systemd-nspawn has, by the host's number; 0 while there is none."""
    try:
        with open("/proc/%d/task/%d/children" % (nspawn, nspawn), encoding="ascii") as file:
            return int((file.read().split() or ["0"])[0])
    except FileNotFoundError:
        return 0


def enter(init: int, command: List[str], timeout: float) -> "subprocess.CompletedProcess[str]":
    """Runs a command as root in the container of that first process."""
    inside = ["nsenter", "--target", str(init), "--all", "--wd=/"]
    clean = ["env", "-i", "PATH=" + PATH, "LC_ALL=C.UTF-8", "HOME=/root"]
    return subprocess.run(
        inside + clean + command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip


class Machine:
    """Booted with `with`; `run` runs a command in it as root, or as somebody else."""

    def __init__(self, base: str, folder: str) -> None:
        self.root = os.path.join(folder, "root")
        subprocess.run(["cp", "-a", "--reflink=auto", base, self.root], check=True)
        # Every machine has its own.
        open(os.path.join(self.root, "etc/machine-id"), "wb").close()
        self._console = os.path.join(folder, "console.log")
        self._nspawn: Optional["subprocess.Popen[bytes]"] = None
        self.init = 0  # its PID 1, by the host's number

    def __enter__(self) -> "Machine":
        environment = dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1")
        with open(self._console, "wb") as console:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", *NSPAWN, "--boot", "--directory=" + self.root, "--console=pipe"],
                env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        deadline = time.monotonic() + BOOT_SECONDS
        try:
            while not self._is_up():
                if self._nspawn.poll() is not None or time.monotonic() > deadline:
                    raise BootFailed("the machine did not boot:\n" + self._said())
                time.sleep(0.2)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        assert self._nspawn is not None
        if self.init and self._nspawn.poll() is None:
            subprocess.run(["kill", "-s", "SIGRTMIN+4", str(self.init)], check=False)  # power off
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        self.init = first_process(self._nspawn.pid)
        if self.init == 0:
            return False
        done = enter(self.init, ["systemctl", "is-system-running"], 10)
        return done.stdout.strip() in ("running", "degraded")

    def _said(self) -> str:
        with open(self._console, encoding="utf-8", errors="replace") as console:
            return console.read()[-2000:]

    def ask(self, *command: str, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """Runs a command; its status and what it said."""
        prefix = [] if user == "root" else ["runuser", "-u", user, "--"]
        return enter(self.init, prefix + list(command), COMMAND_SECONDS)

    def run(self, *command: str, user: str = "root") -> str:
        """Standard output of a command that must work."""
        done = self.ask(*command, user=user)
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-1500:]
            raise BootFailed("%s: exit status %d: %s" % (" ".join(command), done.returncode, said))
        return done.stdout

    def write(self, path: str, text: str) -> None:
        full = self.root + path
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)

    def copy(self, source: str, path: str) -> None:
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        shutil.copyfile(source, self.root + path)

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.run("systemctl", "show", "--value", "--property", name, "lezea-monitor").strip()

    def until(self, true, seconds: float = 30) -> bool:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True
