"""Processes that come, move, fork, exec and go: whose CPU it is, and until when a run lasts."""

import os
import signal
from typing import Dict

from harness.document import Document
from harness.paths import COMMAND
from harness.registry import case
from harness.truth import TICK_SECONDS, Truth

SHARE = 0.01


def compare_move(truth: Truth, first: str, second: str, said: Dict[str, float]) -> None:
    """The first run has the CPU up to the move, the second what came after."""
    before, after = truth.document(first), truth.document(second)
    truth.between("%s has what was before" % first, said["asked"], said["moved"],
                  before.total("cpu_seconds"), "s",
                  share=SHARE, absolute=3 * TICK_SECONDS)  # fmt: skip
    truth.between("%s has what came after" % second, said["ended"] - said["moved"],
                  said["ended"] - said["asked"], after.total("cpu_seconds"), "s",
                  share=SHARE, absolute=3 * TICK_SECONDS)  # fmt: skip
    compare_after(truth, after, said)


def compare_after(truth: Truth, after: Document, said: Dict[str, float]) -> None:
    truth.between("the scope of what came after", said["inner"], said["ended"] - said["moved"],
                  after.scope("part:after", "cpu_seconds"), "s", share=SHARE)  # fmt: skip


@case("moved_from_outside")
def moved_from_outside(truth: Truth) -> None:
    """`lezea-monitor run` binds a command, which binds itself to another run: earlier use stays."""
    first, second = truth.run_id("first"), truth.run_id("second")
    command = COMMAND + ["run", "--quiet", "--run-id", first, "--socket", truth.agent.socket, "--"]
    said = truth.start("mover", second, command=command).finish()
    compare_move(truth, first, second, said)


@case("moved_child")
def moved_child(truth: Truth) -> None:
    """A child of a run binds itself to another run: earlier use stays with its parent's."""
    first, second = truth.run_id("first"), truth.run_id("second")
    said = truth.start("parent_of_mover", first, second).finish()
    before, after = truth.document(first), truth.document(second)
    truth.between("%s has what was before" % first, said["asked"], said["moved"],
                  before.scope("part:child", "cpu_seconds"), "s", share=0.03)  # fmt: skip
    compare_after(truth, after, said)


@case("worker_outlives")
def worker_outlives(truth: Truth) -> None:
    """A worker goes on when the process that opened the run is gone: so does the run."""
    run_id = truth.run_id()
    said = truth.start("outliving", run_id).finish()
    # The opener ended with status 0 and no word: how it came out is not known.
    document = truth.document(run_id, status="LOST")
    truth.holds("the run lasted", said["status"] == "RUNNING", str(said["status"]))
    truth.within("scope of the worker, its clock", said["before"] + said["after"],
                 document.scope("worker:w", "cpu_seconds"), "s",
                 share=SHARE, absolute=TICK_SECONDS)  # fmt: skip


@case("fork_second_thread")
def fork_second_thread(truth: Truth) -> None:
    """Children forked by a second thread are in that thread's scope, not in the main one's."""
    run_id = truth.run_id()
    said = truth.start("forking_thread", run_id).finish()
    document = truth.document(run_id)
    second = "thread:second"
    inner = document.scope(second + "/part:inner", "cpu_seconds")
    truth.within("its child's own scope", said["inner"], inner, "s",
                 share=SHARE, absolute=TICK_SECONDS)  # fmt: skip
    events = truth.agent.source("process_events")
    if events["state"] != "ok":
        truth.skip("children that announce nothing", "no fork events: %s" % events["reason"])
        return
    children = said["silent"] + said["announcing"] + said["program"]
    truth.within("scope of the second thread with all children", children,
                 document.scope(second, "cpu_seconds", "inclusive"), "s", share=0.03)  # fmt: skip
    main = document.scope("thread:main", "cpu_seconds")
    truth.within("scope of the main thread", 0.0, main, "s", absolute=0.02 * children)


@case("exec_in_scope")
def exec_in_scope(truth: Truth) -> None:
    """A process that execs inside a scope stays in it."""
    run_id = truth.run_id()
    said = truth.start("execing", run_id).finish()
    # Exit status 0 of a program that never said that it was done.
    document = truth.document(run_id, status="LOST")
    truth.within("scope, the process's clock", said["used"],
                 document.scope("part:outer/part:exec", "cpu_seconds"), "s",
                 share=SHARE, absolute=5 * TICK_SECONDS + truth.tail_seconds())  # fmt: skip
    outer = document.scope("part:outer", "cpu_seconds")
    truth.within("the scope around it", 0.0, outer, "s", absolute=TICK_SECONDS)


@case("ranks")
def ranks(truth: Truth) -> None:
    """Ranks of one run that end at different times: it lasts until its last part."""
    run_id = truth.run_id()
    seconds = (0.3, 0.8, 1.6)
    started = [truth.start("rank", run_id, i, s) for i, s in enumerate(seconds)]
    for rank in started:
        rank.line()
    for rank in started:
        os.kill(rank.pid, signal.SIGUSR1)
    said = [started[0].finish()]
    status = truth.agent.ask("run.get", {"run_id": run_id})["status"]
    truth.holds("it goes on without its first rank", status == "RUNNING", status)
    said += [rank.finish() for rank in started[1:]]
    document = truth.document(run_id)
    for i, rank in enumerate(said):
        truth.within("scope of rank %d" % i, rank["used"],
                     document.scope("rank:%d" % i, "cpu_seconds"), "s",
                     share=SHARE, absolute=TICK_SECONDS)  # fmt: skip
    least, most = (sum(rank[edge] for rank in said) for edge in ("least", "most"))
    truth.between("all of them", least, most, document.total("cpu_seconds"), "s",
                  share=SHARE, absolute=TICK_SECONDS)  # fmt: skip
