"""LeZeA-shaped training: its tracker and its ResourceLogger, with the agent's figures.

Needs nothing but the client. Where `lezea_mlops` is installed its ExperimentTracker is used, else a
small one of the same calls. Prints one line of JSON.
"""

import contextlib
import json
import time

from lezea_monitor.compat import ResourceLogger, attach


class Small:
    """The calls of an ExperimentTracker that this program makes."""

    experiment_name = "example"

    @contextlib.contextmanager
    def scope(self, level, entity_id):
        yield

    def tasker_scope(self, tasker_id):
        return self.scope("tasker", tasker_id)

    def network_scope(self, nid):
        return self.scope("network", nid)

    def log_constraints(self, runtime_limit_seconds=None, step_episode_limits=None):
        self.constraints = (runtime_limit_seconds, step_episode_limits)

    def log_training_step(self, step, metrics):
        self.last = (step, metrics)

    def log_resource_cost(self, cpu_hours, mem_gb, io_bytes):
        self.cost = {"cpu_hours": cpu_hours, "mem_gb": mem_gb, "io_bytes": io_bytes}

    def _compute_final_resource_summary(self):
        return {}

    def end(self):
        self.summary = self._compute_final_resource_summary()


try:
    from lezea_mlops.tracker import ExperimentTracker
except ImportError:
    ExperimentTracker = None


def work(seconds):
    """So much CPU of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def main():
    tracker = Small() if ExperimentTracker is None else ExperimentTracker("example")
    attach(tracker)
    if ExperimentTracker is not None:
        tracker.start()
    tracker.log_constraints(runtime_limit_seconds=600, step_episode_limits={"max_steps": 200})
    parts = ResourceLogger()
    parts.start("tasker#0")
    parts.start("builder#0")
    for step in range(1, 4):
        with tracker.tasker_scope("tasker#0"):
            work(0.1)
            with tracker.network_scope("org/model"):
                work(0.05)
        tracker.log_training_step(step, {"loss": 1.0 / step})
    samples = parts.sample_all()
    parts.stop("tasker#0")
    parts.stop("builder#0")
    totals = parts.get_totals()
    hours, memory, io = (
        sum(part[key] for part in totals.values()) for key in ("cpu_h", "mem_gb_h", "io_bytes")
    )
    tracker.log_resource_cost(hours, memory, int(io))
    tracker.end()
    summary = tracker._compute_final_resource_summary()
    scopes = {scope["path"]: scope["inclusive"] for scope in summary.get("scopes", ())}
    print(json.dumps({"parts": totals, "samples": samples, "scopes": scopes}))


if __name__ == "__main__":
    main()
