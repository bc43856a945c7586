"""Makes an ExperimentTracker of LeZeA's kind say what the agent measured.

    from lezea_monitor.compat import attach

    tracker = ExperimentTracker("demo")
    attach(tracker)

Replaces methods of that one object, by their names; `detach` puts them back. What the tracker does
with its own books and backends stays as it is. Nothing that is ours raises into it.
"""

import contextlib
import logging
import math
import numbers
import re
import sys
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from .. import client, hooks
from . import documents
from .components import Components
from .costs import Costs
from .monitor import LEVELS, Monitor

log = logging.getLogger("lezea_monitor")

MARK = "_lezea_monitor"
# Of all steps or episodes; the least of them, or how many an episode may have, is no such limit.
_LIMITED = re.compile(
    r"(?:max(?:imum)?_?|total_?|limit_?)?(?:(?:num|n)_)?(step|episode)s?(?:_?(?:limit|max))?\Z"
)
# Not in every MLflow's names of metrics, or not the same after its normalising.
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_./ -]")


def attach(tracker: Any, run: Any = None) -> "Attached":
    """Attaches the run, or a new one that ends with `tracker.end()`. Twice is once."""
    known = vars(tracker).get(MARK)
    return known if isinstance(known, Attached) else Attached(tracker, run)


class Attached:
    """A tracker and its run."""

    def __init__(self, tracker: Any, run: Any) -> None:
        self.tracker = tracker
        self._ends_run = run is None
        self.run = _start(tracker) if run is None else run
        self._components = Components(self.run)
        self._before: List[Tuple[str, bool, Any]] = []
        self._written: Dict[str, Any] = {}
        self._ended = self._constrained = False
        self._last_step: Optional[float] = None
        self._replace(MARK, self)
        self._scopes()
        self._documents()
        self._figures()
        if getattr(tracker, "gpu_monitor", None) is not None:
            self._replace("gpu_monitor", Monitor(self.run))
        self._wrap("log_training_step", self._log_training_step)
        self._wrap("end", self._end)

    def detach(self) -> None:
        """The tracker as it was. The run goes on, if it has not ended."""
        for name, had, value in reversed(self._before):
            if had:
                setattr(self.tracker, name, value)
            else:
                delattr(self.tracker, name)
        self._before.clear()

    # What is replaced

    def _replace(self, name: str, value: Any) -> None:
        own = vars(self.tracker)
        self._before.append((name, name in own, own.get(name)))
        setattr(self.tracker, name, value)

    def _wrap(self, name: str, wrapper: Callable[..., Any]) -> None:
        """`wrapper(original, …)` in the place of a method that is there."""
        original = getattr(self.tracker, name, None)
        if callable(original):

            def method(*args: Any, **kwargs: Any) -> Any:
                return wrapper(original, *args, **kwargs)

            method.__name__, method.__doc__ = name, getattr(original, "__doc__", None)
            self._replace(name, method)

    def _scopes(self) -> None:
        original = getattr(self.tracker, "scope", None)
        if not callable(original):
            return

        @contextlib.contextmanager
        def scope(level: str, entity_id: Any) -> Iterator[Any]:
            with self.run.scope(level, entity_id), original(level, entity_id) as entered:
                yield entered

        def of_level(level: str) -> Callable[[Any], Any]:
            return lambda entity_id: scope(level, entity_id)

        self._replace("scope", scope)
        for level in LEVELS:
            if callable(getattr(self.tracker, level + "_scope", None)):
                self._replace(level + "_scope", of_level(level))
        self._wrap("_add_scope", _with_keys_that_mlflow_takes)

    def _documents(self) -> None:
        self._wrap("_submit", self._submit)
        self._wrap("log_environment_info", self._writer(documents.ENVIRONMENT))
        self._wrap("log_constraints", self._log_constraints)
        self._wrap("_persist_cost_analysis", self._writer(documents.COST))
        self._wrap("_compute_final_resource_summary", self._resource_summary)

    def _figures(self) -> None:
        self._wrap("log_component_resources", self._log_component_resources)
        self._wrap("log_resource_cost", self._log_resource_cost)
        if self.run.active and hasattr(self.tracker, "cost_model"):
            costs = Costs(self.tracker.cost_model, self._cost_document, self._used)
            self._replace("cost_model", costs)

    # Documents

    def document(self, file: str) -> Optional[Dict[str, Any]]:
        """One of the four by its artifact path, as of now."""
        if file == documents.ENVIRONMENT:
            return documents.environment(self.run)
        model = getattr(self.tracker, "cost_model", None)
        if file == documents.COST and model is not None:
            found: Dict[str, Any] = model.summary()
            return found
        return documents.document(self.run, file)

    def _cost_document(self) -> Optional[Dict[str, Any]]:
        return documents.document(self.run, documents.COST)

    def _used(self) -> Dict[str, Dict[str, float]]:
        """By scope, what it itself has used; `global` is what was in none."""
        summary = documents.document(self.run, documents.SUMMARY)
        if summary is None:
            return {}
        scopes = {scope["path"]: scope["self"] for scope in summary["scopes"]}
        return {**scopes, "global": summary["unattributed"]}

    def _submit(self, original: Any, backend: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """What goes to a backend as one of the four is ours, where there is one."""
        file = kwargs.get("artifact_file")
        if method == "log_dict" and file in FILES and args:
            ours = self.document(file) or self._with_limits(file, args[0])
            if not ours:
                return None
            self._written[file] = ours
            args = (ours, *args[1:])
        return original(backend, method, *args, **kwargs)

    def _with_limits(self, file: str, theirs: Any) -> Any:
        """Constraints of a run that goes on are a document of theirs, with how they stand."""
        limits = getattr(self.run, "limits", None) if file == documents.CONSTRAINTS else None
        return {**theirs, "limits": limits} if limits else theirs

    def _writer(self, file: str) -> Callable[..., Any]:
        def write(original: Any, *args: Any, **kwargs: Any) -> Optional[Dict[str, Any]]:
            """Returns what was written."""
            self._written.pop(file, None)
            original(*args, **kwargs)
            return self._written.get(file) or self.document(file)

        return write

    def _resource_summary(self, original: Any) -> Any:
        return self.document(documents.SUMMARY) or original()

    def _log_constraints(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(("runtime_limit_seconds", "step_episode_limits"), args), **kwargs)
        limits = limits_of(given.get("runtime_limit_seconds"), given.get("step_episode_limits"))
        set_limits = getattr(self.run, "set_limits", None)
        if limits and set_limits is not None:
            _quietly(set_limits, limits)
        self._constrained = True
        return self._writer(documents.CONSTRAINTS)(original, *args, **kwargs)

    # Figures

    def _log_component_resources(
        self, original: Any, component_id: Any, component_type: Any, cpu_percent: Any = None,
        memory_mb: Any = None, gpu_util_percent: Any = None, io_operations: Any = None,
        step: Optional[int] = None,
    ) -> Any:  # fmt: skip
        """What the agent knows of the component's scopes; of one without a scope, what was given."""
        figures = self._components.figures(component_type, component_id)
        if figures is None:
            given = {
                "cpu_percent": cpu_percent,
                "memory_mb": memory_mb,
                "gpu_util_percent": gpu_util_percent,
                "io_operations": io_operations,
            }
            figures = {name: value for name, value in given.items() if _is_finite(value)}
        if "cpu_percent" not in figures or "memory_mb" not in figures:
            return None  # nobody knows them
        if "io_operations" in figures:
            figures["io_operations"] = int(figures["io_operations"])
        return original(component_id, component_type, step=step, **figures)

    def _log_resource_cost(
        self, original: Any, cpu_hours: Any = None, mem_gb: Any = None, io_bytes: Any = None
    ) -> Any:
        """The run's totals in the place of what was given."""
        from .figures import figures

        known = figures(self.run.usage(fresh=True).columns)
        given = {"cpu_h": cpu_hours, "mem_gb_h": mem_gb, "io_bytes": io_bytes}
        given = {key: value for key, value in given.items() if _is_finite(value)}
        said = {**given, **known}
        if not all(key in said for key in ("cpu_h", "mem_gb_h", "io_bytes")):
            return None
        return original(said["cpu_h"], said["mem_gb_h"], int(said["io_bytes"]))

    def _log_training_step(self, original: Any, step: Any, *args: Any, **kwargs: Any) -> Any:
        """Limits of steps count these."""
        if _is_finite(step):
            last, self._last_step = self._last_step, float(step)
            self.run.progress(steps=step - last if last is not None and step > last else 1)
        return original(step, *args, **kwargs)

    # The end

    def _end(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        """Once. The run ends first: what the tracker then writes is final."""
        if self._ended:
            return None
        self._ended = True
        if self._ends_run:
            self.run.end(*hooks.outcome_of(sys.exc_info()[1]))
        _quietly(self._log_totals)
        return original(*args, **kwargs)

    def _log_totals(self) -> None:
        columns = self.run.usage(fresh=not self._ends_run).columns
        if not columns:
            return
        event = getattr(self.tracker, "_event", None)
        if event is not None:
            event("resources", {"lezea_run_id": self.run.id, "totals": columns})
        backend = (getattr(self.tracker, "backends", None) or {}).get("mlflow")
        if backend is not None:
            known = ((name, value) for name, value in columns.items() if value != 0)
            backend.log_metrics({"resources/total/" + name: float(value) for name, value in known})
            outcome = self.document(documents.CONSTRAINTS) if self._constrained else None
            if outcome is not None:
                backend.log_dict(outcome, artifact_file=documents.CONSTRAINTS)


FILES = (documents.SUMMARY, documents.ENVIRONMENT, documents.CONSTRAINTS, documents.COST)


def limits_of(
    runtime_limit_seconds: Any = None, step_episode_limits: Optional[Mapping[Any, Any]] = None
) -> Dict[str, Any]:
    """LeZeA's constraints as limits of a run.

    `{"max_steps": 200}`, `{"episodes": 5}`; by level, `{"tasker": {"max_steps": 10}}`; by scope,
    `{"tasker:t0": {…}}`.
    """
    limits: Dict[str, Any] = {}
    if _is_amount(runtime_limit_seconds):
        limits["runtime_seconds"] = float(runtime_limit_seconds)
    if not isinstance(step_episode_limits, Mapping):
        return limits
    for key, value in step_episode_limits.items():
        if isinstance(value, Mapping):
            inner = limits_of(None, value)
            if inner:
                limits.setdefault("scopes" if ":" in str(key) else "levels", {})[str(key)] = inner
            continue
        found = _LIMITED.match(str(key).lower())
        if found and _is_amount(value):
            limits[found.group(1) + "s"] = float(value)
    return limits


def _start(tracker: Any) -> Any:
    name = getattr(tracker, "experiment_name", None)
    identifier = getattr(tracker, "experiment_id", None)
    tags = None if identifier is None else {"lezea.experiment_id": identifier}
    return client.start_run(None if name is None else str(name), tags=tags)


def _with_keys_that_mlflow_takes(original: Any, metrics: Mapping[str, Any]) -> Dict[str, Any]:
    """`tasker:tasker#0/loss` as `tasker.x3atasker.x230/loss`: one bad key loses a whole batch."""
    keyed = original(metrics).items()
    return {_NOT_IN_KEYS.sub(_escaped, key): value for key, value in keyed}


def _escaped(found: "re.Match[str]") -> str:
    return "".join(".x%02x" % byte for byte in found.group().encode("utf-8", "replace"))


def _is_finite(value: Any) -> bool:
    """numbers.Real: numpy's are too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_amount(value: Any) -> bool:
    return _is_finite(value) and value > 0


def _quietly(function: Callable[..., Any], *args: Any) -> None:
    try:
        function(*args)
    except Exception as error:  # a tracker's backend, or a limit that makes no sense
        log.warning("lezea-monitor: %s", error)
