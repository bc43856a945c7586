"""The Debian package on a machine of its own, from installing to purging: `npm run test:boot`, after `npm run package`.

A Debian is made by debootstrap (kept in build/boot/ for the next time) and booted by systemd-nspawn; the
package is installed in it, and an operator's and users' day goes by: runs of ordinary users, killed and
hanging agents, good and bad configurations, GPUs (by the double of the driver), an upgrade, the end. Prints a
row a check; exit status 1 where one does not hold. Needs root, debootstrap, systemd-container.
"""

import argparse
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(ROOT, "test", "truth"))

from harness.table import Row, Table  # noqa: E402
from image import Image  # noqa: E402
from machine import (  # noqa: E402
    BootFailed,
    Machine,
    enter,
    first_process,
    make_base,
    starts_containers,
)

BASES = os.path.join(ROOT, "build", "boot")
PACKAGES = os.path.join(ROOT, "build", "packages")
NEEDS = ("debootstrap", "systemd-nspawn", "nsenter", "dpkg-deb")
STOP_SECONDS = 12.0  # ten of the agent's own, and systemd
WATCHDOG_SECONDS = 4
CAP_NET_ADMIN = 1 << 12
BURN = "import time\nend = time.process_time() + %g\nwhile time.process_time() < end: pass\nprint(time.process_time())"
TRAINER = """
import os, sys, time
import lezea_monitor as lm
run = lm.start_run(run_id=sys.argv[1], experiment="boot")
print("begun", flush=True)
end = time.monotonic() + float(sys.argv[2])
used = 0
while time.monotonic() < end:
    with run.tasker("t0"), run.layer("fc1"):
        begun = time.thread_time_ns()
        sum(range(100000))
        used += time.thread_time_ns() - begun
    time.sleep(0.01)
print(used / 1e9, flush=True)
if len(sys.argv) > 3:
    os._exit(int(sys.argv[3]))
run.end()
"""
# In a PID namespace of its own the agent believes the numbers of drivers that translate them all.
DRIVER = "driver 580.65.06"
GPU = "GPU-00000000-1111-2222-3333-444444444444"
# What the day provokes.
EXPECTED_IN_JOURNAL = (
    "the new configuration is invalid", "Reload failed", "the sampling thread hangs",
    "Watchdog timeout", "Failed with result 'watchdog'", "Main process exited",
)  # fmt: skip


class Checks:
    """Rows of yes or no; `said` is what was seen instead."""

    case = ""

    def __init__(self, table: Table) -> None:
        self.table = table

    def holds(self, what: str, true: bool, said: object = "") -> None:
        row = Row(self.case, what, "", 1, int(true), int(true) - 1, "" if true else str(said)[-400:])
        row.bound, row.ok = "holds", true
        self.table.add(row)


class Boot(Checks):
    def __init__(self, machine: Machine, table: Table, deb: str) -> None:
        super().__init__(table)
        self.machine, self.deb = machine, deb

    def day(self, only: List[str]) -> None:
        for step in (
            self.install, self.privileges, self.users, self.killed, self.outlived, self.reloaded, self.watched,
            self.gpus, self.upgraded, self.stopped, self.journal, self.removed,
        ):  # fmt: skip
            self.case = step.__name__
            if only and self.case not in ["install"] + only:
                continue
            try:
                step()
            except (BootFailed, subprocess.TimeoutExpired, KeyError, ValueError) as error:
                self.holds("is gone through", False, error)

    # The steps, in their order.

    def install(self) -> None:
        machine = self.machine
        machine.copy(self.deb, "/root/lezea-monitor.deb")
        machine.run("useradd", "--create-home", "alice")
        machine.run("useradd", "--create-home", "bob")
        machine.run("dpkg", "--install", "/root/lezea-monitor.deb")
        self.holds("the service is active", machine.until(self.active), self.status())
        self.holds("it says what it does", machine.show("StatusText") != "", self.status())
        self.holds("it is enabled", machine.ask("systemctl", "is-enabled", "lezea-monitor").returncode == 0)
        doctor = json.loads(machine.ask("lezea-monitor", "doctor", "--json").stdout)
        self.holds("doctor asks it", doctor["agent"].get("mode") == "system", doctor["agent"])
        state = {source["name"]: source["state"] for source in doctor["sources"]}
        fallback = state["exit_records"] in ("fallback", "unavailable")
        self.holds("in a PID namespace exit records are told as missing", fallback, state)
        self.holds("no NVIDIA driver is told once", state["gpu"] == "disabled", state)

    def privileges(self) -> None:
        sets = self.capabilities()
        having = {name: value for name, value in sets.items() if any(value)}
        self.holds("%d threads; one has CAP_NET_ADMIN alone" % len(sets),
                   list(having.values()) == [(CAP_NET_ADMIN, CAP_NET_ADMIN, 0, 0)], having)  # fmt: skip
        names = [name.split("/")[1] for name in having]
        self.holds("it is the sampler", names == ["lezea-sampler"], names)
        status = self.read("/proc/%s/status" % self.machine.show("MainPID"))
        self.holds("no new privileges, filtered system calls",
                   "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status)  # fmt: skip
        paths = ("/var/lib/lezea-monitor", "/run/lezea-monitor/agent.sock")
        owner = self.machine.run("stat", "--format=%U %a", *paths)
        self.holds("its state is its own, its socket everybody's",
                   owner.split("\n")[:2] == ["lezea-monitor 700", "lezea-monitor 666"], owner)  # fmt: skip

    def users(self) -> None:
        machine = self.machine
        done = machine.ask("lezea-monitor", "run", "--run-id", "r1", "--", "python3", "-c", BURN % 0.3, user="alice")
        self.holds("an ordinary user's command is measured", done.returncode == 0 and "TOTAL" in done.stderr, done)
        document = self.document("r1", "alice")
        cpu = document["totals"]["cpu_seconds"]["value"]
        burnt = float(done.stdout)
        # There are no exit records: to its very end it is read because nobody has reaped it.
        self.holds("its CPU is what it burnt, %.3f s of %.3f" % (cpu, burnt), burnt <= cpu < burnt + 0.1, cpu)
        self.holds("its books balance", self.balances(document), document["conservation"])
        refused = machine.ask("lezea-monitor", "show", "r1", user="bob")
        self.holds("another user sees nothing of it", refused.returncode == 1 and "r1" not in machine.run(
            "lezea-monitor", "runs", "--json", user="bob"), refused)  # fmt: skip
        self.holds("root sees it", '"r1"' in machine.run("lezea-monitor", "runs", "--json"))
        metrics = self.metrics()
        self.holds("names are hashed on /metrics", "lezea_run_info" in metrics and "r1" not in metrics)

    def killed(self) -> None:
        trainer = self.train("long", 12)
        self.machine.run("systemctl", "kill", "--signal=KILL", "lezea-monitor")
        self.holds("killed, it is started anew", self.machine.until(self.restarted), self.status())
        self.ended("long", trainer)

    def outlived(self) -> None:
        machine = self.machine
        trainer = self.train("outlived", 3, "4")
        self.holds("systemd keeps its descriptors", machine.until(lambda: self.kept() >= 3), self.kept())
        restarts = machine.show("NRestarts")
        machine.run("systemctl", "kill", "--signal=KILL", "lezea-monitor")
        said, _ = trainer.communicate(timeout=60)
        self.holds("a program ends while there is no agent", trainer.returncode == 4 and not self.active(), self.status())
        self.holds("there is one again", machine.until(
            lambda: self.active() and machine.show("NRestarts") != restarts), self.status())  # fmt: skip
        document = self.document("outlived", "alice")
        cpu = {scope["path"]: scope["self"]["cpu_seconds"] for scope in document["scopes"]}["tasker:t0/layer:fc1"]
        self.holds("its scope has what it used, %.3f s of %s" % (cpu, said.strip()),
                   0.95 <= cpu / float(said) <= 1.05, document["totals"]["cpu_seconds"])  # fmt: skip
        self.holds("how it ended is known", document["run"]["status"] == "FAILED", document["run"])
        self.holds("its books balance", self.balances(document), document["conservation"])
        self.holds("nothing of it is kept", machine.until(lambda: self.kept() == 0), self.kept())

    def reloaded(self) -> None:
        machine = self.machine
        machine.write("/etc/lezea-monitor/config.yaml", "metrics: { linger_seconds: 30 }\n")
        self.holds("a good configuration is read again", machine.ask("systemctl", "reload", "lezea-monitor").returncode == 0)
        self.holds("it says so", machine.until(lambda: "read again" in self.log()), self.log())
        machine.write("/etc/lezea-monitor/config.yaml", "metrics: { linger_secnds: 30 }\n")
        failed = machine.ask("systemctl", "reload", "lezea-monitor").returncode != 0
        self.holds("a bad one fails the reload", failed)
        self.holds("its problem is in the journal", "did you mean metrics.linger_seconds" in self.log(), self.log())
        self.holds("the agent goes on", self.active(), self.status())
        machine.write("/etc/lezea-monitor/config.yaml", "")

    def watched(self) -> None:
        machine = self.machine
        self.drop_in("watchdog", "[Service]\nWatchdogSec=%d\nRestartSec=100ms\n" % WATCHDOG_SECONDS)
        machine.run("systemctl", "restart", "lezea-monitor")
        time.sleep(2 * WATCHDOG_SECONDS)
        restarts = machine.show("NRestarts")
        self.holds("its watchdog is content", self.active() and restarts == "0", self.status())
        holder = subprocess.Popen(
            [sys.executable, os.path.join(ROOT, "test/unit/support/hold_thread.py"), str(self.sampler())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holder.stdout is not None
        self.holds("the sampling thread is held", holder.stdout.readline() == "held\n")
        fired = machine.until(lambda: machine.show("NRestarts") != "0", 6 * WATCHDOG_SECONDS)
        self.holds("the watchdog ends an agent whose sampling thread hangs", fired, self.status())
        holder.communicate()
        self.holds("and it is started anew", machine.until(self.active), self.status())
        self.no_drop_in()

    def gpus(self) -> None:
        machine = self.machine
        double = subprocess.run(
            ["node", os.path.join(ROOT, "scripts/nvml-double.mjs")], capture_output=True, text=True, check=True
        ).stdout.strip().splitlines()[-1]  # fmt: skip
        machine.copy(os.path.join(double, "current/libnvidia-ml.so.1"), "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1")
        trainer = self.train("gpu", 25)
        pid = machine.run("pgrep", "-u", "alice", "-f", "trainer.py gpu").split()[0]
        machine.write("/etc/lezea-monitor/scenario",
                      "clock real\n%s\ngpu uuid=%s\nprocess 0 pid=%s memory_mib=1000 busy_ms=1000\n" % (DRIVER, GPU, pid))  # fmt: skip
        self.drop_in("double", "[Service]\nEnvironment=LEZEA_NVML_SCENARIO=/etc/lezea-monitor/scenario\n")
        machine.run("systemctl", "restart", "lezea-monitor")
        power = 'lezea_gpu_power_watts{gpu="%s"}' % GPU
        self.holds("a GPU's power is published under the shipped hardening",
                   machine.until(lambda: power in self.metrics()), self.log())  # fmt: skip
        given = re.compile(r'^lezea_gpu_attributed_energy_joules_total\{.*to="runs"\} [1-9]', re.M)
        self.holds("a run is given its energy", machine.until(lambda: given.search(self.metrics())))
        self.ended("gpu", trainer)
        columns = self.document("gpu", "alice")["totals"]
        memory = columns.get("gpu_memory_peak_bytes", {}).get("value", 0)
        self.holds("a process's GPU memory is its run's: %.0f MiB" % (memory / 2**20), memory == 1000 * 2**20, columns)
        self.no_drop_in()
        machine.run("rm", "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", "/etc/lezea-monitor/scenario")
        machine.run("systemctl", "restart", "lezea-monitor")

    def upgraded(self) -> None:
        machine = self.machine
        machine.run("dpkg-deb", "--raw-extract", "/root/lezea-monitor.deb", "/root/newer")
        machine.run("sed", "-i", "s/^Version: .*/&+newer/", "/root/newer/DEBIAN/control")
        machine.run("dpkg-deb", "-Znone", "--build", "/root/newer", "/root/newer.deb")
        trainer = self.train("upgraded", 15)
        before = machine.show("MainPID")
        machine.write("/etc/lezea-monitor/config.yaml", "metrics: { linger_seconds: 40 }\n")
        machine.run("dpkg", "--force-confold", "--install", "/root/newer.deb")
        self.holds("upgraded, the new one runs", machine.until(
            lambda: self.active() and machine.show("MainPID") != before), self.status())  # fmt: skip
        kept = self.read("/etc/lezea-monitor/config.yaml")
        self.holds("the operator's configuration is kept", "linger_seconds: 40" in kept, kept)
        self.ended("upgraded", trainer)
        self.holds("runs of before are known", self.balances(self.document("r1", "alice")))
        machine.run("rm", "-r", "/root/newer", "/root/newer.deb")

    def stopped(self) -> None:
        begun = time.monotonic()
        self.machine.run("systemctl", "stop", "lezea-monitor")
        took = time.monotonic() - begun
        self.holds("it stops in its time: %.1f s" % took, took <= STOP_SECONDS, took)
        self.holds("by itself", self.machine.show("Result") == "success", self.status())
        self.machine.run("systemctl", "start", "lezea-monitor")

    def journal(self) -> None:
        lines = [line for line in self.log("--priority=err").splitlines() if line and not line.startswith("-- ")]
        odd = [line for line in lines if not any(text in line for text in EXPECTED_IN_JOURNAL)]
        self.holds("no error in the journal that was not provoked", not odd, "; ".join(odd))

    def removed(self) -> None:
        machine = self.machine
        machine.run("dpkg", "--remove", "lezea-monitor")
        self.holds("removed, nothing runs", machine.ask("pgrep", "-f", "lezea-monitor").returncode == 1)
        self.holds("its state is kept", machine.ask("test", "-e", "/var/lib/lezea-monitor").returncode == 0)
        machine.run("dpkg", "--purge", "lezea-monitor")
        everywhere = ("/etc", "/usr", "/var", "/run", "/opt", "/srv")
        left = machine.run("find", *everywhere, "-xdev", "-path", "/var/log", "-prune", "-o",
                           "(", "-name", "*lezea*", "-o", "-nouser", ")", "-print")  # fmt: skip
        self.holds("purged, no file is left", left == "", left)
        account = machine.ask("getent", "passwd", "lezea-monitor").returncode
        self.holds("nor its account", account != 0)

    # What the steps ask.

    def active(self) -> bool:
        return self.machine.ask("systemctl", "is-active", "lezea-monitor").stdout.strip() == "active"

    def kept(self) -> int:
        return int(self.machine.show("NFileDescriptorStore"))

    def restarted(self) -> bool:
        return self.active() and self.machine.show("NRestarts") != "0"

    def status(self) -> str:
        return self.machine.ask("systemctl", "status", "--no-pager", "lezea-monitor").stdout

    def log(self, *options: str) -> str:
        return self.machine.ask("journalctl", "--unit=lezea-monitor", "--output=cat", "--no-pager", *options).stdout

    def read(self, path: str) -> str:
        return self.machine.run("cat", path)

    def metrics(self) -> str:
        get = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:10470/metrics').read().decode())"
        return self.machine.ask("python3", "-c", get).stdout

    def document(self, run_id: str, user: str) -> Dict[str, Any]:
        return json.loads(self.machine.run("lezea-monitor", "show", run_id, "--json", user=user))

    def balances(self, document: Dict[str, Any]) -> bool:
        return all(line["residual"] == "0" for line in document["conservation"].values())

    def train(self, run_id: str, seconds: float, *more: str) -> "subprocess.Popen[str]":
        """A user's program, which has begun."""
        self.machine.write("/home/alice/trainer.py", TRAINER)
        enter = ["nsenter", "--target", str(self.machine.init), "--all", "--wd=/"]
        as_alice = ["runuser", "-u", "alice", "--", "env", "-i", "PATH=/usr/bin:/bin", "HOME=/home/alice"]
        trainer = subprocess.Popen(
            enter + as_alice + ["python3", "/home/alice/trainer.py", run_id, str(seconds), *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert trainer.stdout is not None
        if trainer.stdout.readline() != "begun\n":
            raise BootFailed("the program did not begin")
        known = ("lezea-monitor", "show", run_id)
        if not self.machine.until(lambda: "layer:fc1" in self.machine.ask(*known, user="alice").stdout):
            raise BootFailed("the program's scopes are not known")
        return trainer

    def ended(self, run_id: str, trainer: "subprocess.Popen[str]") -> None:
        status = trainer.wait(60)
        document = self.document(run_id, "alice")
        said = (status, document["run"]["status"], document["run"].get("reason"))
        self.holds("%s: its run went on to its end" % run_id, said[:2] == (0, "FINISHED"), said)
        scopes = {scope["path"] for scope in document["scopes"]}
        self.holds("%s: with its scopes" % run_id, "tasker:t0/layer:fc1" in scopes, scopes)
        self.holds("%s: its books balance" % run_id, self.balances(document), document["conservation"])

    def sampler(self) -> int:
        """The sampling thread, by the host's number."""
        for path in glob.glob("/proc/[0-9]*/root"):
            pid = path.split("/")[2]
            try:
                if os.readlink("/proc/%s/ns/pid" % pid) != os.readlink("/proc/%d/ns/pid" % self.machine.init):
                    continue
                for comm in glob.glob("/proc/%s/task/*/comm" % pid):
                    with open(comm, encoding="ascii") as file:
                        if file.read() == "lezea-sampler\n":
                            return int(comm.split("/")[4])
            except OSError:
                continue
        raise BootFailed("there is no thread lezea-sampler")

    def capabilities(self) -> Dict[str, "tuple[int, ...]"]:
        """Effective, permitted, inheritable and ambient ones by thread and name."""
        sets = {}
        pid = self.machine.show("MainPID")
        for tid in self.machine.run("ls", "/proc/%s/task" % pid).split():
            status = dict(line.split(":\t", 1) for line in self.read("/proc/%s/task/%s/status" % (pid, tid)).splitlines())
            named = "%s/%s" % (tid, status["Name"])
            sets[named] = tuple(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"))
        return sets

    def drop_in(self, name: str, text: str) -> None:
        self.machine.write("/etc/systemd/system/lezea-monitor.service.d/%s.conf" % name, text)
        self.machine.run("systemctl", "daemon-reload")

    def no_drop_in(self) -> None:
        self.machine.run("rm", "-r", "/etc/systemd/system/lezea-monitor.service.d")
        self.machine.run("systemctl", "daemon-reload")


class Container(Checks):
    """The image: built, started, asked, stopped."""

    case = "image"

    def day(self, base: str, folder: str) -> None:
        image = Image(os.path.join(ROOT, "deploy/docker/Dockerfile"), PACKAGES, base, folder)
        self.holds("its instructions are carried out", True)
        agent = image.start()
        try:
            self.asked(agent)
        finally:
            agent.terminate()
            agent.wait()

    def asked(self, agent: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + 30
        init, ready = 0, False
        while not ready and agent.poll() is None and time.monotonic() < deadline:
            init = init or first_process(agent.pid)
            ready = init > 0 and enter(init, ["lezea-monitor", "status"], 30).returncode == 0
            time.sleep(0.2)
        self.holds("its agent is ready, on a read-only root", ready, agent.poll())
        done = enter(init, ["lezea-monitor", "run", "--", "sh", "-c", "seq 300000 | sort -r | tail -n 1"], 60)
        measured = done.returncode == 0 and done.stdout == "1\n" and "TOTAL" in done.stderr
        self.holds("it measures a command beside it", measured, done)
        os.kill(init, signal.SIGTERM)
        try:
            status: Any = agent.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            status = "still there"
        self.holds("SIGTERM ends it with status 0, as PID 1 too", status == 0, status)


def why_not() -> str:
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in NEEDS if shutil.which(name) is None]
    return "no %s: apt-get install debootstrap systemd-container" % ", ".join(missing) if missing else ""


def package(given: List[str]) -> str:
    found = given or glob.glob(os.path.join(PACKAGES, "lezea-monitor_*_amd64.deb"))
    if len(found) != 1:
        raise SystemExit("%s: found %s; expected one, by `npm run package`" % (PACKAGES, found))
    return found[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="npm run test:boot --", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="bookworm", help="of Debian (default %(default)s)")
    parser.add_argument("--base", action="store_true", help="only make the Debian that is copied")
    parser.add_argument("--deb", nargs=1, default=[], metavar="FILE", help="default: that of build/packages/")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="install and these")
    chosen = parser.parse_args()
    table = Table(sys.stdout)
    why = why_not()
    if why:
        table.add(Row("boot", "the machine", "", skipped=why))
        return 0
    base = os.path.join(BASES, chosen.suite)
    os.makedirs(BASES, exist_ok=True)
    make_base(base, chosen.suite)
    if chosen.base:
        return 0
    if not starts_containers(base):
        table.add(Row("boot", "the machine", "", skipped="this machine starts no container"))
        return 0
    folder = tempfile.mkdtemp(prefix="lezea-boot-")
    try:
        with Machine(base, folder) as machine:
            Boot(machine, table, package(chosen.deb)).day(chosen.only)
        if not chosen.only or "image" in chosen.only:
            Container(table).day(base, folder)
    finally:
        shutil.rmtree(folder)
    print(table.counts())
    return 0 if table.ok else 1


if __name__ == "__main__":
    sys.exit(main())
