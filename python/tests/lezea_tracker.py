"""A tracker with the calls that LeZeA documents for its ExperimentTracker, and its faults.

Its backend keeps what it was given. Its GPU monitor hangs when it is stopped, as theirs does.
"""

import contextlib
import time


class HangingMonitor:
    """Whoever calls it is stuck; here that is a failure."""

    def __getattr__(self, name):
        raise AssertionError("the monitor's %s was called" % name)


class Backend:
    """An MLflow backend: what it was told, in order."""

    def __init__(self):
        self.metrics = []  # (key, value, step)
        self.documents = {}  # by artifact path, the last one
        self.ended = 0

    def log_metrics(self, metrics, step=None):
        self.metrics += [(key, value, step) for key, value in metrics.items()]

    def log_dict(self, payload, artifact_file=None):
        self.documents[artifact_file] = payload

    def end_run(self):
        self.ended += 1

    def values(self, key):
        return [value for name, value, _ in self.metrics if name == key]


class CostModel:
    """Rates, declared costs, and totals that are made of percents."""

    def __init__(self):
        self.declared = {}
        self.estimated = 0.0

    def update(self, *, scope_key="global", dt_seconds, egress_gb=0.0, cpu_percent=None, **rest):
        self._add(scope_key, "egress_gb", egress_gb)
        self.estimated += (cpu_percent or 0.0) * dt_seconds

    def add_fixed_cost(self, eur, scope_key="global"):
        self._add(scope_key, "fixed_eur", eur)

    def _add(self, scope_key, name, value):
        bill = self.declared.setdefault(scope_key, {})
        bill[name] = bill.get(name, 0.0) + value

    def summary(self):
        scopes = {}
        for key, totals in self.declared.items():
            fixed, egress = totals.get("fixed_eur", 0.0), totals.get("egress_gb", 0.0)
            parts = {"fixed_eur": fixed, "egress_eur": egress * 0.06, "cpu_eur": self.estimated}
            used = {"fixed_eur": fixed, "egress_gb": egress, "cpu_core_hours": self.estimated}
            scopes[key] = {"totals": used, "components_eur": parts, "total_eur": sum(parts.values())}
        return {"created_at": "now", "rates_eur": {"egress_gb_eur": 0.06}, "scopes": scopes}


class Tracker:
    """The calls that have to do with resources; their bodies are ours, their effects LeZeA's."""

    def __init__(self, experiment_name="demo"):
        self.experiment_id = "0b9bfe64-0000-4000-8000-000000000000"
        self.experiment_name = experiment_name
        self.backends = {"mlflow": Backend()}
        self.gpu_monitor = HangingMonitor()
        self.cost_model = CostModel()
        self.total_cost = 0.0
        self.events = []
        self.stack = []
        self.ends = 0
        self.seen = []  # what its own log_component_resources was called with

    # Its own hands.

    def _event(self, kind, payload):
        self.events.append((kind, dict(payload)))

    def _submit(self, backend, method, *args, async_allowed=True, **kwargs):
        return getattr(self.backends[backend], method)(*args, **kwargs)

    def _add_scope(self, metrics):
        prefix = "%s:%s/" % self.stack[-1] if self.stack else ""
        return {prefix + key: float(value) for key, value in metrics.items()}

    # Scopes.

    @contextlib.contextmanager
    def scope(self, level, entity_id):
        self.stack.append((level, entity_id))
        try:
            yield
        finally:
            self.stack.pop()

    def builder_scope(self, builder_id):
        return self.scope("builder", builder_id)

    def tasker_scope(self, tasker_id):
        return self.scope("tasker", tasker_id)

    def algorithm_scope(self, algo):
        return self.scope("algorithm", algo)

    def network_scope(self, nid):
        return self.scope("network", nid)

    def layer_scope(self, lid):
        return self.scope("layer", lid)

    # Documents and figures.

    def log_environment_info(self):
        self._submit("mlflow", "log_dict", {"node": "?"}, artifact_file="environment/full.json")

    def log_constraints(self, runtime_limit_seconds=None, step_episode_limits=None):
        said = {"runtime_limit_seconds": runtime_limit_seconds}
        said["step_episode_limits"] = step_episode_limits or {}
        path = "constraints/constraints.json"
        self._submit("mlflow", "log_dict", said, artifact_file=path)

    def log_training_step(self, step, metrics, **rest):
        self._submit("mlflow", "log_metrics", self._add_scope(metrics), step=step)

    def log_component_resources(
        self, component_id, component_type, cpu_percent, memory_mb,
        gpu_util_percent=None, io_operations=None, step=None,
    ):  # fmt: skip
        self.seen.append((component_type, component_id, cpu_percent, memory_mb, gpu_util_percent))
        key = "resources/%s/%s/cpu_percent" % (component_type, component_id)
        self._submit("mlflow", "log_metrics", self._add_scope({key: cpu_percent}), step=step)

    def log_resource(self, part_name, cpu, gpu, mem):
        self.log_component_resources(part_name, "part", cpu, mem, gpu)

    def log_resource_cost(self, cpu_hours, mem_gb, io_bytes):
        figures = {"cost/cpu_hours": cpu_hours, "cost/mem_gb": mem_gb, "cost/io_bytes": io_bytes}
        self._submit("mlflow", "log_metrics", self._add_scope(figures))
        self.total_cost = float(self.cost_model.estimate_total_eur(cpu_hours=cpu_hours))

    def _compute_final_resource_summary(self):
        return {"total_cpu_percent_accumulated": 1234.5}

    def _persist_cost_analysis(self):
        path = "business/cost_analysis_summary.json"
        self._submit("mlflow", "log_dict", self.cost_model.summary(), artifact_file=path)
        self.total_cost = float(self.cost_model.summary().get("total_eur", self.total_cost))

    # Its life.

    def start(self, prometheus_port=8000):
        self.log_environment_info()
        self.gpu_monitor.start_monitoring(self.experiment_id, prometheus_port=prometheus_port)
        self.began = time.monotonic()
        return self

    def end(self):
        self.ends += 1
        self.gpu_monitor.stop_monitoring()
        self._persist_cost_analysis()
        summary = self._compute_final_resource_summary()
        self._submit("mlflow", "log_dict", summary, artifact_file="resources/summary.json")
        self._submit("mlflow", "end_run")

    def finalize_experiment(self):
        self.end()
