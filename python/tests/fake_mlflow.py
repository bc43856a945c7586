"""Modules that pass for mlflow: `old` has one stack of active runs, as 2.12; else one a thread.

Owns what was logged, per run id: `FakeMlflow.runs`. Like a file store it keeps repetitions.
"""

import os
import shutil
import sys
import threading
import types


class PerThread:
    """As mlflow.utils.thread_utils.ThreadLocalVariable (3.x)."""

    def __init__(self, default):
        self.values, self.default = {}, default

    def get(self):
        return self.values.setdefault(threading.get_ident(), self.default())

    def set(self, value):
        self.values[threading.get_ident()] = value

    def get_all_thread_values(self):
        return dict(self.values)


class Thing:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class Metric(Thing):
    def __init__(self, key, value, timestamp, step):
        super().__init__(key=key, value=value, timestamp=timestamp, step=step)


class RunTag(Thing):
    def __init__(self, key, value):
        super().__init__(key=key, value=value)


class Param(RunTag):
    pass


class MlflowException(Exception):
    def __init__(self, message, error_code="INTERNAL_ERROR"):
        super().__init__(message)
        self.error_code = error_code


class StoredRun:
    """One run at the tracker; its artifacts lie in a folder."""

    def __init__(self, run_id, folder):
        self.info = Thing(
            run_id=run_id, status="RUNNING", lifecycle_stage="active",
            artifact_uri="s3://b/" + run_id,
        )  # fmt: skip
        self.folder = os.path.join(folder, run_id)
        os.makedirs(self.folder)
        self.metrics, self.params, self.tags, self.experiment_id = [], {}, {}, "0"

    def put(self, path, data):
        file = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as stream:
            stream.write(data)

    def get(self, path):
        with open(os.path.join(self.folder, path), "rb") as stream:
            return stream.read()

    def files(self):
        found = []
        for folder, _, names in os.walk(self.folder):
            found += [os.path.relpath(os.path.join(folder, name), self.folder) for name in names]
        return sorted(found)


class FakeMlflow:
    """Installs itself in sys.modules for the time of a test."""

    def __init__(self, test, folder, old=False):
        self.runs, self.addresses, self.calls = {}, [], []
        self.experiments = {"Default": "0"}
        self.folder = folder
        self.before = lambda name, *args: None  # called before every write; may raise
        self.uri = "file:///tracked"
        self.old = old
        self.modules = self._modules()
        previous = {name: sys.modules.get(name) for name in self.modules}
        sys.modules.update(self.modules)
        test.addCleanup(self.uninstall, previous)

    @staticmethod
    def uninstall(previous):
        for name, module in previous.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module

    def _modules(self):
        fluent = types.ModuleType("mlflow.tracking.fluent")
        fluent._active_run_stack = [] if self.old else PerThread(list)
        fluent._last_active_run_id = None if self.old else PerThread(lambda: None)
        mlflow = types.ModuleType("mlflow")
        mlflow.active_run = lambda: (self.stack() or [None])[-1]
        mlflow.get_tracking_uri = lambda: self.uri
        tracking = types.ModuleType("mlflow.tracking")
        tracking.MlflowClient = lambda tracking_uri: Client(self, tracking_uri)
        entities = types.ModuleType("mlflow.entities")
        entities.Metric, entities.RunTag, entities.Param = Metric, RunTag, Param
        modules = (mlflow, tracking, fluent, entities)
        return {module.__name__: module for module in modules}

    @property
    def fluent(self):
        return self.modules["mlflow.tracking.fluent"]

    def stack(self):
        stack = self.fluent._active_run_stack
        return stack if self.old else stack.get()

    def start_run(self, run_id):
        run = self.runs.get(run_id) or StoredRun(run_id, self.folder)
        self.runs[run_id] = run
        self.stack().append(run)
        return run

    def end_run(self):
        run = self.stack().pop()
        run.info.status = "FINISHED"
        if self.old:
            self.fluent._last_active_run_id = run.info.run_id
        else:
            self.fluent._last_active_run_id.set(run.info.run_id)


class Client:
    """What of MlflowClient is used."""

    def __init__(self, mlflow, address):
        self.mlflow = mlflow
        mlflow.addresses.append(address)

    def get_run(self, run_id):
        if run_id not in self.mlflow.runs:
            raise MlflowException("no run %s" % run_id, "RESOURCE_DOES_NOT_EXIST")
        return self.mlflow.runs[run_id]

    def get_experiment_by_name(self, name):
        known = self.mlflow.experiments
        return Thing(experiment_id=known[name]) if name in known else None

    def create_experiment(self, name):
        self.mlflow.calls.append(("create_experiment", name))
        return self.mlflow.experiments.setdefault(name, str(len(self.mlflow.experiments)))

    def search_runs(self, experiment_ids, filter_string, max_results):
        key, value = filter_string.replace("tags.", "").split(" = ")
        wanted = (key.strip("`"), value.strip("'"))
        found = [run for run in self.mlflow.runs.values() if run.experiment_id in experiment_ids]
        return [run for run in found if wanted in run.tags.items()][:max_results]

    def create_run(self, experiment_id, start_time, tags, run_name):
        self.mlflow.calls.append(("create_run", experiment_id, start_time, run_name))
        self.mlflow.before("create_run")
        run = StoredRun("made%d" % len(self.mlflow.runs), self.mlflow.folder)
        run.experiment_id, run.tags = experiment_id, dict(tags)
        self.mlflow.runs[run.info.run_id] = run
        return run

    def _writing(self, run_id, name, *args):
        self.mlflow.calls.append((name, *args))
        self.mlflow.before(name, *args)
        run = self.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            raise MlflowException("not active", "INVALID_PARAMETER_VALUE")
        return run

    def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        assert synchronous is True
        run = self._writing(run_id, "log_batch", [one.key for one in (*metrics, *params, *tags)])
        for param in params:  # as mlflow: not atomic
            if run.params.setdefault(param.key, param.value) != param.value:
                raise MlflowException("Changing param values", "INVALID_PARAMETER_VALUE")
        run.metrics += [(m.key, m.timestamp, m.step, m.value) for m in metrics]
        run.tags.update((tag.key, tag.value) for tag in tags)

    def get_metric_history(self, run_id, key):
        self.mlflow.calls.append(("get_metric_history", key))
        found = self.get_run(run_id).metrics
        return [Metric(k, value, at, step) for k, at, step, value in found if k == key]

    def list_artifacts(self, run_id, path=None):
        run = self.get_run(run_id)
        folder = os.path.join(run.folder, path or "")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [self._info(run, os.path.join(path or "", name)) for name in names]

    @staticmethod
    def _info(run, path):
        whole = os.path.join(run.folder, path)
        is_dir = os.path.isdir(whole)
        return Thing(path=path, is_dir=is_dir, file_size=None if is_dir else os.path.getsize(whole))

    def download_artifacts(self, run_id, path, folder):
        return shutil.copy(os.path.join(self.get_run(run_id).folder, path), folder)

    def log_artifact(self, run_id, file, path=None):
        run = self._writing(run_id, "log_artifact", path, os.path.basename(file))
        with open(file, "rb") as stream:
            run.put(os.path.join(path or "", os.path.basename(file)), stream.read())

    def set_terminated(self, run_id, status, end_time):
        run = self._writing(run_id, "set_terminated", status)
        run.info.status, run.info.end_time = status, end_time
