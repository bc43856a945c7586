"""An agent that is killed in the middle of a run and comes back: nothing lost, nothing doubled."""

import time

from harness.agent import Agent
from harness.registry import case
from harness.truth import Truth
from harness.workload import Workload

RUN_SECONDS, KILL_AFTER, RESTART_AFTER = 10, 2.0, 3.0
SHARE = 0.01


def compare(truth: Truth, agent: Agent, run_id: str, workload: Workload) -> None:
    said = workload.finish()
    document = truth.document(run_id, agent)
    for path, (inner, outer) in said["used"].items():
        truth.between("%s %s, its clocks" % (run_id, path), inner, outer,
                      document.scope(path, "cpu_seconds"), "s", share=SHARE)  # fmt: skip
    # One child counted twice would be 20 ms of it, 0.3 %.
    truth.ratio("%s, cgroup cpu.stat" % run_id, said["cgroup"], said["agent"], 0.99, 1.002)
    truth.holds("%s: children came and went" % run_id, said["children"] > 20)


@case("restart")
def restart(truth: Truth) -> None:
    """SIGKILL 2 s into a run of 10 s, restart 3 s later: every scope within 1 % of its clocks."""
    agent = truth.own_agent()
    runs = {}
    leaf = truth.leaf("alone")
    runs["alone"] = truth.start("long", truth.run_id("alone"), RUN_SECONDS, leaf=leaf, agent=agent)
    # With a stranger in its cgroup, the second run cannot be caught up by the cgroup's figure.
    crowded = truth.leaf("crowded")
    truth.start("sleeper", leaf=crowded, agent=agent).line()
    runs["crowded"] = truth.start(
        "long", truth.run_id("crowded"), RUN_SECONDS, leaf=crowded, agent=agent
    )
    for workload in runs.values():
        workload.line()
    time.sleep(KILL_AFTER)
    agent.kill()
    time.sleep(RESTART_AFTER)
    agent.start()
    for name, workload in runs.items():
        compare(truth, agent, truth.run_id(name), workload)
    agent.stop()


@case("service")
def service(truth: Truth) -> None:
    """A service that is stopped, or killed, and started again when the training has ended meanwhile."""
    for name, told in (("stopped", True), ("killed", False)):
        agent = truth.service()
        run_id = truth.run_id(name)
        workload = truth.start("outlived", run_id, agent=agent)
        workload.line()
        agent.ask("run.usage", {"run_id": run_id, "fresh": True})  # it is in a checkpoint
        agent.stop() if told else agent.kill()
        workload.tell()
        said = workload.finish(status=3)
        agent.start()
        document = truth.document(run_id, agent, status="FAILED")
        first, second = said["used"].items()
        # The child of a dead parent: only who is told of every end knows it.
        told = told and agent.source("exit_records")["state"] == "ok"
        for path, (inner, outer) in (first, second) if told else (first,):
            truth.between("%s %s, its clocks" % (run_id, path), inner, outer,
                          document.scope(path, "cpu_seconds"), "s", share=SHARE)  # fmt: skip
        agent.stop()


@case("reconnect")
def reconnect(truth: Truth) -> None:
    """A connection that is lost while the agent lives, in the middle of a long stay."""
    run_id = truth.run_id()
    said = truth.start("reconnecting", run_id).finish()
    document = truth.document(run_id)
    truth.holds("the client has connected again", said["connected"])
    cpu = document.scope("part:long", "cpu_seconds")
    # Some 50 ms pass until the ring is with the agent again.
    truth.within("CPU of the stay", said["used"], cpu, "s", share=0.05)
