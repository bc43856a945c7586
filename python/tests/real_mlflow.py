"""Client-side delivery through real mlflows: `python3 real_mlflow.py [--s3 FOLDER] PYTHON…`.

Reads nothing but its arguments: interpreters that have mlflow, and, for an s3:// artifact root that
moto's server serves, a folder of packages with moto and boto3 (site-packages of any environment of
the same Python). A scripted agent hands out items; programs begin and end runs in every order; what
is at the tracker is read back and compared. Emits a line a case; exit status 1 when one fails.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)
sys.path.insert(0, PACKAGE)

from tests.fake_agent import FakeAgent  # noqa: E402
from tests.fake_outbox import Outbox  # noqa: E402

PREPARE = """
import os, sys, time
sys.path += filter(None, [os.environ.get("TEST_EXTRA_PACKAGES")])
"""
TRAIN = PREPARE + """
import mlflow, lezea_monitor as lm
uri, root, order, ending = sys.argv[1:5]
mlflow.set_tracking_uri(uri)
if mlflow.get_experiment_by_name("e") is None:
    mlflow.create_experiment("e", artifact_location=root or None)
mlflow.set_experiment("e")
if order == "mlflow first":
    tracked = mlflow.start_run()
run = lm.start_run(run_id="r")
if order == "lezea first":
    tracked = mlflow.start_run()
print(tracked.info.run_id)
mlflow.log_metric("loss", 0.5)
with run.layer("x"):
    mlflow.log_dict({"theirs": True}, "environment/full.json")
if ending == "mlflow ends first":
    mlflow.end_run()
begin = time.monotonic()
if ending != "at exit":
    run.end()
    print(time.monotonic() - begin)
    mlflow.end_run()
"""
READ = PREPARE + """
import hashlib, json, mlflow, tempfile
client = mlflow.MlflowClient(tracking_uri=sys.argv[1])
run = client.get_run(sys.argv[2])
history = {k: [(m.timestamp, m.step, m.value) for m in client.get_metric_history(sys.argv[2], k)]
           for k in run.data.metrics}
def files(path=None):
    for info in client.list_artifacts(sys.argv[2], path):
        yield from files(info.path) if info.is_dir else [info.path]
folder = tempfile.mkdtemp()
digest = lambda path: hashlib.sha256(open(path, "rb").read()).hexdigest()
artifacts = {path: digest(client.download_artifacts(sys.argv[2], path, folder)) for path in files()}
print(json.dumps([run.info.status, history, run.data.tags, artifacts]))
"""
DOCUMENTS = (
    "resources/summary.json environment/full.json business/cost_analysis_summary.json metrics.json"
).split()
KEYS = 250


class Case:
    """One program against one store; its folder is gone afterwards."""

    def __init__(self, python, extra, environment):
        self.python = python
        self.folder = tempfile.mkdtemp(prefix="lz-real-")
        self.agent = FakeAgent()
        self.agent.runs.add("r")
        self.outbox = Outbox(self.agent)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        self.environment.update(
            PYTHONPATH=PACKAGE, LEZEA_MONITOR_SOCKET=self.agent.path, HOME=self.folder,
            MLFLOW_ALLOW_FILE_STORE="true", TEST_EXTRA_PACKAGES=extra or "", **environment,
        )  # fmt: skip
        self.documents = {path: os.urandom(30) + path.encode() for path in DOCUMENTS}

    def close(self):
        self.agent.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def items(self):
        points = [
            {"key": "resources/layer/x%d/cpu_seconds" % n, "value": n / 3,
             "timestamp": 1700000000000 + n, "step": n % 5}
            for n in range(KEYS)
        ]  # fmt: skip
        batches = [points[n : n + 100] for n in range(0, KEYS, 100)]
        found = [("metrics", {"metrics": batch}) for batch in batches]
        found += [self.outbox.document(path, data) for path, data in self.documents.items()]
        return found + [("tags", {"tags": [{"key": "lezea_monitor.status", "value": "FINISHED"}]})]

    def run(self, code, *arguments, check=True):
        done = subprocess.run(
            [self.python, "-c", code, *arguments], cwd=self.folder, env=self.environment,
            timeout=300, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def train(self, uri, root, order, ending):
        """(id of the MLflow run, seconds of run.end, stderr)."""
        done = self.run(TRAIN, uri, root, order, ending)
        words = [line for line in done.stdout.split() if line]
        return words[0], float(words[1]) if ending != "at exit" else None, done.stderr

    def command(self):
        """The delivery command; its exit status and stderr."""
        code = PREPARE + "from lezea_monitor.deliver_command import main; sys.exit(main(['r']))"
        done = self.run(code, check=False)
        return done.returncode, done.stderr

    def compare(self, uri, run_id, ending):
        """Asserts that everything is there, once."""
        status, history, tags, artifacts = json.loads(self.run(READ, uri, run_id).stdout)
        assert status == "FINISHED", status
        expected = {"resources/layer/x%d/cpu_seconds" % n: [[1700000000000 + n, n % 5, n / 3]]
                    for n in range(KEYS)}  # fmt: skip
        history = {key: value for key, value in history.items() if key != "loss"}
        assert history == expected, [(k, v) for k, v in history.items() if expected.get(k) != v][:3]
        assert tags["lezea_monitor.status"] == "FINISHED"
        for path, data in self.documents.items():
            place = tags.get("lezea_monitor.artifact." + path, path)
            digest = hashlib.sha256(data).hexdigest()
            assert artifacts[place] == digest, (path, place)
            assert (artifacts[path] == digest) == (path != "environment/full.json"), path
        aside = len(artifacts) - len(DOCUMENTS)
        # A slow machine brings some by the command, when the MLflow run has ended.
        most = 1 if ending == "mlflow ends first" else len(DOCUMENTS)
        assert 1 <= aside <= most, sorted(artifacts)


def check(python, store, order, ending, disturb, extra=None, environment=None):
    """One case: the line that says what was seen."""
    case = Case(python, extra, environment or {})
    try:
        root = "s3://bucket/e-%s" % os.urandom(4).hex() if store == "s3" else ""
        uri = "sqlite:///m.db" if store in ("sqlite", "s3") else case.folder + "/mlruns"
        number = case.outbox.add("r", *case.items())
        case.outbox.lose_acks = 1 if disturb else 0
        run_id, seconds, stderr = case.train(uri, root, order, ending)
        settings = case.agent.called("run.update")[-1]["tracker"]
        assert settings["mlflow_run_id"] == run_id, settings
        at_end = case.outbox.left(number)
        if at_end:
            assert "python -m lezea_monitor.deliver r" in stderr, stderr
            status, stderr = case.command()
            assert status == 0, stderr
        assert case.outbox.left(number) == 0 and not case.outbox.dead, case.outbox.dead
        case.compare(uri, run_id, ending)
        case.outbox.add("r", *case.items())  # as from a bundle that is imported elsewhere
        status, stderr = case.command()
        assert status == 0, stderr
        case.compare(uri, run_id, ending)
        took = "" if seconds is None else ", run.end %.2f s" % seconds
        return "ok%s%s" % (took, ", %d items by the command" % at_end if at_end else "")
    finally:
        case.close()


def s3_server(extra):
    """moto's server with a bucket: (process, the environment that leads to it)."""
    code = PREPARE + """
import boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
url = "http://%s:%d" % server.get_host_and_port()
boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="bucket")
print(url, flush=True)
sys.stdin.read()
"""
    keys = dict(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="us-east-1")
    server = subprocess.Popen(
        [sys.executable, "-c", code], env=dict(os.environ, TEST_EXTRA_PACKAGES=extra, **keys),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    return server, dict(keys, MLFLOW_S3_ENDPOINT_URL=server.stdout.readline().strip())


def cases(with_s3):
    for store in ("file", "sqlite", *(["s3"] if with_s3 else [])):
        for order in ("mlflow first", "lezea first"):
            for ending in ("lezea ends first", "mlflow ends first", "at exit"):
                yield store, order, ending, False
        yield store, "lezea first", "mlflow ends first", True


def main():
    parser = argparse.ArgumentParser(description="client-side delivery through real mlflows")
    parser.add_argument("--s3", metavar="FOLDER", help="packages with moto and boto3")
    parser.add_argument("--only", default="", help="cases whose name matches this")
    parser.add_argument("python", nargs="+", help="an interpreter with mlflow")
    arguments = parser.parse_args()
    server, environment = s3_server(arguments.s3) if arguments.s3 else (None, {})
    failed = 0
    try:
        for python in arguments.python:
            say = "import mlflow; print(mlflow.__version__)"
            version = subprocess.check_output([python, "-c", say], text=True).strip()
            for case in cases(bool(arguments.s3)):
                store, order, ending, disturb = case
                name = "mlflow %s, %s, %s, %s%s" % (
                    version, store, order, ending, ", an acknowledgement lost" if disturb else "",
                )  # fmt: skip
                if not re.search(arguments.only, name):
                    continue
                begin = time.monotonic()
                try:
                    seen = check(python, *case, arguments.s3, environment)
                except Exception as error:
                    failed += 1
                    seen = "FAILED: %s: %s" % (type(error).__name__, error)
                print("%s: %s (%.0f s)" % (name, seen, time.monotonic() - begin), flush=True)
    finally:
        if server:
            server.stdin.close()
            server.wait(10)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
