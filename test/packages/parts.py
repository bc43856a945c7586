"""What the tests of packages share: where the packages are, a PATH with little on it, an agent of a package."""

import glob
import json
import os
import shutil
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PACKAGES = os.path.join(ROOT, "build", "packages")
TIMEOUT_SECONDS = 120
READY_SECONDS = 30

with open(os.path.join(ROOT, "package.json"), encoding="utf-8") as file:
    VERSION = json.load(file)["version"]


def package(pattern):
    """The one package that fits; of several versions, say, none is the right one."""
    found = glob.glob(os.path.join(PACKAGES, pattern))
    if len(found) != 1:
        raise AssertionError("%s: found %s; expected one, by `npm run package`" % (pattern, found))
    return found[0]


def official_node(major):
    return os.path.join(ROOT, "packaging", "nodes", "node_modules", "node-%s" % major, "bin", "node")


def run(*command, **options):
    """Standard output and error of a command, and its status; within a time."""
    options.setdefault("timeout", TIMEOUT_SECONDS)
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)


def bare_path(folder, node):
    """A folder with Node.js, npm and what a shell script needs: no compiler, no make, no Python."""
    os.mkdir(folder)
    programs = {"node": node, "npm": os.path.realpath(shutil.which("npm"))}
    programs.update((name, shutil.which(name)) for name in ("sh", "ls", "readlink", "dirname", "env"))
    for name, target in programs.items():
        os.symlink(target, os.path.join(folder, name))
    return folder


class Agent:
    """An agent in user mode with a folder of its own; `command` and `environment` are the package's."""

    def __init__(self, command, environment):
        self.folder = tempfile.mkdtemp(prefix="lezea-package-")
        self.socket = os.path.join(self.folder, "agent.sock")
        self.state = os.path.join(self.folder, "state")
        self.environment = dict(environment, HOME=self.folder)
        self.command = command
        self.process = None

    def __enter__(self):
        arguments = ["agent", "--socket", self.socket, "--state-dir", self.state]
        arguments += ["--listen", "127.0.0.1:0", "--set", "agent.mode=user"]
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.command, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not os.path.exists(os.path.join(self.state, "agent.json")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.said()
                self.__exit__()
                raise AssertionError("the agent was not ready: " + said)
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def run(self, *command):
        """`lezea-monitor run -- command`."""
        arguments = ["run", "--socket", self.socket, "--", *command]
        return run(self.command, *arguments, env=self.environment)
