"""Faults let loose: each waits in a thread of its own for its time, does its harm and undoes it.

Owns those threads. After `end` there is no fault left but a clock that was moved, and harm to
requests that have not come yet.
"""

import errno
import os
import subprocess
import threading
import time
from typing import Callable, List, Optional, Sequence

from .agent import Agent
from .mlflow import Mlflow
from .plan import Fault
from .proxy import Proxy
from .tmpfs import fill

#: How long the write that a fault is about may be waited for; an agent that starts takes longer.
WAIT_SECONDS = {"start": 6.0}
MOST_WAIT_SECONDS = 2.0
LOOK_SECONDS = 0.005
HOUR_NS = 3600 * 10**9


class Loose:
    def __init__(
        self, faults: Sequence[Fault], agent: Agent, proxy: Proxy, mlflow: Mlflow
    ) -> None:
        self._faults, self._agent, self._proxy, self._mlflow = faults, agent, proxy, mlflow
        self._threads: List[threading.Thread] = []
        self._let: set = set()
        #: Why a fault could not be done or undone.
        self.failures: List[str] = []
        self.trainer: Optional[subprocess.Popen] = None
        self.killed_trainer = False

    def let(self, phase: str) -> None:
        """The phase begins: its faults are on their way. Once a phase."""
        if phase in self._let:
            return
        self._let.add(phase)
        for fault in self._faults:
            if fault.phase == phase:
                thread = threading.Thread(target=self._do, args=(fault,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def end(self) -> None:
        """Waits for them to be over; none takes more than some seconds."""
        for thread in self._threads:
            thread.join()
        self._agent.orders.quiet()

    def _do(self, fault: Fault) -> None:
        try:
            self._let_loose(fault)
        except Exception as error:  # a fault that is not one of the plan's: the trial says nothing
            self.failures.append("%s: %s: %s" % (fault, type(error).__name__, error))

    def _let_loose(self, fault: Fault) -> None:
        time.sleep(fault.delay_ms / 1000)
        kind = fault.kind.split("-")[0] if fault.kind.startswith("tracker-") else fault.kind
        if fault.kind in ("tracker-refuse", "tracker-restart"):
            kind = fault.kind
        getattr(self, "_" + kind.replace("-", "_"))(fault)

    def _kill(self, _: Fault) -> None:
        self._agent.kill()

    def _stop(self, _: Fault) -> None:
        self._agent.terminate()

    def _kill_write(self, fault: Fault) -> None:
        orders = self._agent.orders
        for nth in fault.more["nth"]:
            before = self._agent.kills
            orders["kill_how"] = fault.more["how"]
            orders["kill_at"] = orders["count"] + nth
            # The next life begins with the next order: the agent's own watcher takes this one back.
            _wait(fault, lambda before=before: self._agent.kills > before)
        orders["kill_at"] = 0

    def _eio(self, fault: Fault) -> None:
        self._fail(fault, errno.EIO)

    def _enospc(self, fault: Fault) -> None:
        self._fail(fault, errno.ENOSPC)

    def _fail(self, fault: Fault, number: int) -> None:
        orders = self._agent.orders
        self._agent.disk_fails(True)
        first = orders["count"] + fault.more["nth"]
        orders["fail_errno"] = number
        orders["fail_until"] = first + fault.more["count"]
        orders["fail_from"] = first
        _wait(fault, lambda: orders["count"] >= orders["fail_until"])
        orders["fail_from"] = 0
        self._agent.disk_fails(False)

    def _full_disk(self, fault: Fault) -> None:
        self._agent.disk_fails(True)
        ballast = fill(os.path.dirname(self._agent.state), fault.more["left_kib"])
        time.sleep(fault.hold_ms / 1000)
        os.unlink(ballast)
        self._agent.disk_fails(False)

    def _kill_trainer(self, fault: Fault) -> None:
        _wait(fault, lambda: self.trainer is not None)
        if self.trainer is not None:
            self.killed_trainer = True
            self.trainer.kill()

    def _tracker(self, fault: Fault) -> None:
        harm = fault.kind.split("-", 1)[1]
        self._proxy.harm(harm, fault.more["after"], fault.more["count"], fault.more.get("size", 0))
        if fault.hold_ms > 0:
            time.sleep(fault.hold_ms / 1000)
            self._proxy.quiet()

    def _tracker_refuse(self, fault: Fault) -> None:
        self._proxy.refuse()
        time.sleep(fault.hold_ms / 1000)
        self._proxy.listen()

    def _tracker_restart(self, _: Fault) -> None:
        self._mlflow.restart()

    def _clock(self, fault: Fault) -> None:
        self._agent.orders["clock_ns"] = fault.more["hours"] * HOUR_NS


def _wait(fault: Fault, done: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS.get(fault.phase, MOST_WAIT_SECONDS)
    while not done() and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
