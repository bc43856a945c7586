"""Training programs for the tests: one a line of standard input, `MODE RUN_ID`, each in a process of its own.

Usage: program.py TRACKING_URI CGROUP_PREFIX. Writes `RUN_ID MLFLOW_RUN_ID WAIT_STATUS` for each when it has
ended. mlflow is imported once, before the forks: that takes longer than all of the training.
"""

import os
import signal
import sys
import time

import mlflow

import lezea_monitor as lm

OWN = [
    "environment/full.json",
    "constraints/constraints.json",
    "business/cost_analysis_summary.json",
    "resources/summary.json",
]


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(100))


def train(run):
    for step in range(3):
        with run.builder("b0"), run.tasker("t%d" % step):
            burn(0.004)
            with run.network("policy"), run.layer("fc1 (wide)"):
                burn(0.008)


def log_own(when):
    for path in OWN:
        mlflow.log_text("the program's own, %s" % when, path)


def enter_small_group(group):
    """Moves this process to a memory cgroup of its own; only root may make one."""
    os.mkdir(group)
    name = "memory.max" if os.path.exists(group + "/memory.max") else "memory.limit_in_bytes"
    for file, value in ((name, str(64 << 20)), ("cgroup.procs", str(os.getpid()))):
        with open(os.path.join(group, file), "w") as written:
            written.write(value)


def outgrow():
    """Uses more memory than the group has; not without end, should there be no group."""
    kept = []
    for _ in range(200):
        kept.append(b"x" * (1 << 20))
        burn(0.001)


def program(mode, run_id, told):
    if mode == "oom":
        enter_small_group(sys.argv[2] + str(os.getpid()))
    first = mode in ("before", "oom", "terminated", "status", "lost")
    if first:
        active = mlflow.start_run()
    run = lm.start_run(experiment="programs", run_id=run_id)
    if not first:
        active = mlflow.start_run()
    os.write(told, active.info.run_id.encode())
    if mode == "documents":
        log_own("before")
    train(run)
    if mode == "killed":
        # An MLflow run that began later is known to the agent after a second.
        burn(2.5)
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "oom":
        outgrow()
    if mode == "terminated":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if mode == "crashed":
        raise ValueError("no more data")
    if mode == "interrupted":
        raise KeyboardInterrupt
    if mode == "left":
        sys.exit(0)
    if mode == "status":
        os._exit(3)
    if mode == "lost":
        os._exit(0)
    run.end()
    if mode == "documents":
        log_own("after")
    mlflow.end_run()


def main():
    mlflow.set_tracking_uri(sys.argv[1])
    print("ready", flush=True)
    groups = []
    for line in sys.stdin:
        mode, run_id = line.split()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            if mode not in ("killed", "oom", "terminated", "status", "lost"):
                return program(mode, run_id, writer)
            program(mode, run_id, writer)
            os._exit(0)  # MLflow is not told
        os.close(writer)
        told = os.read(reader, 100).decode()
        os.close(reader)
        _, status = os.waitpid(child, 0)
        if mode == "oom":
            groups.append(sys.argv[2] + str(child))
        print(run_id, told, status, flush=True)
    # Not before: what is in them says to the agent how their processes ended.
    for group in groups:
        os.rmdir(group)


main()
