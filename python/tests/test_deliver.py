"""Totals that the client brings to the tracker itself: at the run's end, and later as a command."""

import contextlib
import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from unittest import mock

from lezea_monitor import deliver_command

from .fake_mlflow import FakeMlflow, MlflowException
from .fake_outbox import Outbox
from .helpers import child_environment, python
from .test_tracker import TrackerTest

SUMMARY = json.dumps({"totals": "x" * 2500}).encode()


def metrics(*keys, value=1.5):
    points = [{"key": key, "value": value, "timestamp": 1000, "step": 0} for key in keys]
    return ("metrics", {"metrics": points})


def points(*keys, value=1.5):
    return [(key, 1000, 0, value) for key in keys]


TAGS = ("tags", {"tags": [{"key": "lezea_monitor.status", "value": "FINISHED"}]})
END = ("end", {"status": "KILLED", "end_time": 77})


class DeliverTest(TrackerTest):
    def setUp(self):
        super().setUp()
        self.mlflow = FakeMlflow(self, self.folder)
        self.outbox = Outbox(self.agent)
        self.summary = self.outbox.document("resources/summary.json", SUMMARY)

    def everything(self):
        return [metrics("a", "b"), metrics("c"), self.summary, TAGS]

    def finish(self, *items, before_end=lambda: None, uri="http://u:p@h"):
        """A whole program: a run with an MLflow run around it; the latter."""
        with mock.patch.object(self.mlflow, "uri", uri):
            tracked = self.mlflow.start_run("m")
            run = self.start(run_id="r")
            if items:
                self.outbox.add("r", *items)
            before_end()
            run.end()
        return tracked


class AtEndTest(DeliverTest):
    def test_everything_while_the_mlflow_run_goes_on(self):
        tracked = self.finish(*self.everything())
        self.assertEqual(tracked.metrics, points("a", "b", "c"))
        aside = "lezea-monitor/resources/summary.json"
        self.assertEqual(tracked.files(), [aside, "resources/summary.json"])
        self.assertEqual({tracked.get(path) for path in tracked.files()}, {SUMMARY})
        named = {"lezea_monitor.artifact.resources/summary.json": aside}
        self.assertEqual(tracked.tags, {"lezea_monitor.status": "FINISHED", **named})
        self.assertEqual((self.outbox.left(), self.outbox.dead), (0, []))
        self.assertEqual(self.mlflow.addresses, ["http://u:p@h"])
        self.assertNotIn("u:p", str(self.agent.calls))

    def test_a_param_that_is_there_stays_and_a_tag_has_ours(self):
        given = [{"key": key, "value": "1"} for key in ("a", "b", "c")]
        before = lambda: self.mlflow.runs["m"].params.update(b="2", c="1")  # noqa: E731
        tracked = self.finish(("params", {"params": given}), before_end=before)
        self.assertEqual(tracked.params, {"a": "1", "b": "2", "c": "1"})
        self.assertEqual(tracked.tags, {"lezea_monitor.param.b": "1"})
        self.assertEqual((self.outbox.left(), self.outbox.dead), (0, []))

    def test_after_the_mlflow_run_has_ended(self):
        tracked = self.finish(*self.everything(), before_end=self.mlflow.end_run)
        self.assertEqual(tracked.get("resources/summary.json"), SUMMARY)
        self.assertNotIn("lezea_monitor.artifact.resources/summary.json", tracked.tags)
        self.assertEqual(self.outbox.left(), 0)

    def test_not_for_the_client(self):
        for by, final in (("agent", True), ("nobody", True), ("client", False)):
            self.outbox = Outbox(self.agent, by, final)
            tracked = self.finish(metrics("a"))
            self.assertEqual((tracked.metrics, self.outbox.left()), ([], 1))
            self.assertEqual(self.agent.called("outbox.take"), [])

    def test_other_deliveries_are_left_alone(self):
        self.outbox.add("r", metrics("x"), sink="webhook http://x")
        self.outbox.add("r", metrics("x"), for_agent=True)
        self.outbox.add("other", metrics("x"))
        tracked = self.finish(metrics("a"))
        self.assertEqual(tracked.metrics, points("a"))
        self.assertEqual([self.outbox.left(n) for n in (1, 2, 3, 4)], [1, 1, 1, 0])

    def test_a_slow_tracker_is_given_up(self):
        released = threading.Event()
        self.addCleanup(released.set)
        self.mlflow.before = lambda *_: released.wait(30)
        begin = time.monotonic()
        with mock.patch("lezea_monitor.run.END_SECONDS", 1.0), self.heard() as logs:
            self.finish(metrics("a"), metrics("b"))
        self.assertLess(time.monotonic() - begin, 3)
        self.assertIn("no more time", logs.output[0])
        self.assertEqual(self.outbox.left(), 2)

    def test_no_more_time_is_said(self):
        with mock.patch("lezea_monitor.run.END_SECONDS", 0.3):
            self.mlflow.before = lambda *_: time.sleep(0.5)
            with self.heard() as logs:
                tracked = self.finish(metrics("a"), metrics("b"))
        self.agent.wait(lambda: tracked.metrics == points("a", "b"))
        self.assertEqual(self.outbox.left(), 2)  # not acknowledged: the time for that was up, too
        self.assertIn("python -m lezea_monitor.deliver r", logs.output[0])

    @contextlib.contextmanager
    def heard(self):
        logging.getLogger("lezea_monitor").setLevel(logging.WARNING)
        with self.assertLogs("lezea_monitor", logging.WARNING) as logs:
            yield logs

    def test_a_tracker_that_fails(self):
        def fail(*_):
            raise OSError("https://u:p@h refused")

        self.mlflow.before = fail
        with self.heard() as logs:
            self.finish(metrics("a"))
        self.assertEqual(self.outbox.left(), 1)
        self.assertIn("refused", logs.output[0])
        self.assertNotIn("u:p", logs.output[0])

    def test_an_agent_that_answers_nonsense(self):
        for nonsense in ({}, {"deliveries": 7}, {"deliveries": [7]}, {"deliveries": [{}]}, []):
            self.agent.replies["outbox.list"] = nonsense
            self.finish(metrics("a"))
        self.agent.replies["outbox.list"] = self.outbox._list
        of_a_newer_agent = {"id": 1, "kind": "new", "body": "{}"}
        for nonsense in ({"item": {}}, {"item": 7}, {"item": of_a_newer_agent}):
            self.agent.replies["outbox.take"] = nonsense
            self.finish(metrics("a"))
        for nonsense in (None, 7, {"by": 7}, "client"):
            self.agent.replies["run.update"] = {"tracker": nonsense}
            self.finish(metrics("a"))

    def test_a_forked_child_does_not_deliver(self):
        self.outbox.add("r", metrics("a"))
        self.mlflow.start_run("m")
        run = self.start(run_id="r")
        pid = os.fork()
        if pid == 0:
            try:
                with run.layer("x"):
                    pass
                run.usage()
                run.end()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(len(self.agent.called("run.end")), 1)
        self.assertEqual(self.agent.called("outbox.list"), [])

    def test_at_exit(self):
        code = """
import sys, tempfile, unittest
import lezea_monitor as lm
from tests.fake_mlflow import FakeMlflow
case = unittest.TestCase()
mlflow = FakeMlflow(case, tempfile.mkdtemp(dir=sys.argv[1]))
run = lm.start_run(run_id="r")
tracked = mlflow.start_run("m")
mlflow.before = lambda *call: print(call, flush=True)
"""
        self.outbox.add("r", metrics("a"), TAGS)
        done = subprocess.run(
            python(code, self.folder), env=child_environment(), timeout=60, check=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self.assertEqual(done.stdout.count(b"log_batch"), 2)
        self.assertEqual(self.outbox.left(), 0)


class AgainTest(DeliverTest):
    def test_an_item_whose_acknowledgement_was_lost(self):
        for number, step in enumerate(self.everything()):
            self.outbox.lose_acks = 1
            tracked = self.finish(step)
            self.assertEqual(self.outbox.left(number + 1), 1)
            self.finish()
            self.assertEqual(self.outbox.left(number + 1), 0)
        self.assertEqual(sorted(tracked.metrics), points("a", "b", "c"))
        uploads = [call for call in self.mlflow.calls if call[0] == "log_artifact"]
        self.assertEqual(len(uploads), 2)  # at its place, and aside

    def test_everything_again_from_another_agent(self):
        tracked = self.finish(*self.everything())
        self.finish(*self.everything())
        self.assertEqual(tracked.metrics, points("a", "b", "c"))

    def test_half_of_an_item_was_written(self):
        tracked = self.mlflow.start_run("m")
        tracked.metrics += points("a", "b")
        self.finish(metrics("a", "b", "c"), metrics("d"))
        self.assertEqual(tracked.metrics, points("a", "b", "c", "d"))

    def test_looking_is_cheap_where_nothing_is_there(self):
        self.finish(metrics("a", "b"), metrics("c"))
        looks = [call for call in self.mlflow.calls if call[0] == "get_metric_history"]
        self.assertEqual(looks, [("get_metric_history", "a")])

    def test_a_document_that_is_not_what_it_was(self):
        self.outbox.document("resources/summary.json", b"another")
        self.finish(self.summary, TAGS)
        self.assertIn("is not what it was", self.outbox.dead[0][1])
        self.assertEqual(self.outbox.left(), 0)


class ArtifactTest(DeliverTest):
    PATH, ASIDE = "resources/summary.json", "lezea-monitor/resources/summary.json"

    def deliver_after(self, theirs):
        def before_end():
            run = self.mlflow.runs["m"]
            run.put(self.PATH, theirs)
            self.mlflow.end_run()

        return self.finish(self.summary, before_end=before_end)

    def test_anothers_is_never_overwritten(self):
        for theirs in (b"theirs", SUMMARY[:-1] + b"!"):  # of another size, of the same
            self.agent.calls.clear()
            tracked = self.deliver_after(theirs)
            self.assertEqual(tracked.get(self.PATH), theirs)
            self.assertEqual(tracked.get(self.ASIDE), SUMMARY)
            self.assertEqual(tracked.tags, {"lezea_monitor.artifact." + self.PATH: self.ASIDE})

    def test_ours_is_there_already(self):
        tracked = self.deliver_after(SUMMARY)
        self.assertEqual((tracked.files(), tracked.tags), ([self.PATH], {}))

    def test_theirs_comes_after_ours(self):
        tracked = self.finish(self.summary)
        tracked.put(self.PATH, b"theirs")
        self.mlflow.end_run()
        self.finish(self.summary)
        self.assertEqual(tracked.get(self.PATH), b"theirs")
        self.assertEqual(tracked.get(self.ASIDE), SUMMARY)

    def test_of_an_earlier_attempt(self):
        kind, body = self.summary
        older = hashlib.sha256(b"of the first").hexdigest()
        for there, at_its_place in (
            (b"of the first", True), (SUMMARY[:7], True), (b"", True), (SUMMARY + b"!", False),
        ):  # fmt: skip
            self.outbox.deliveries.clear()
            summary = (kind, dict(body, replaces=[older]))
            tracked = self.finish(
                summary, before_end=lambda data=there: (
                    self.mlflow.runs["m"].put(self.PATH, data), self.mlflow.end_run()
                ),
            )  # fmt: skip
            self.assertEqual(tracked.get(self.PATH) == SUMMARY, at_its_place, there)

    def test_even_aside_is_taken(self):
        self.mlflow.start_run("m").put(self.ASIDE, b"theirs")
        tracked = self.deliver_after(b"theirs")
        last = "lezea-monitor/k-1/" + self.PATH
        self.assertEqual(tracked.get(last), SUMMARY)
        self.assertEqual(tracked.tags, {"lezea_monitor.artifact." + self.PATH: last})

    def test_folders_everywhere(self):
        run = self.mlflow.start_run("m")
        for path in (self.PATH, self.ASIDE, "lezea-monitor/k-1/" + self.PATH):
            run.put(path + "/x", b"")
        self.finish(self.summary, TAGS)
        self.assertIn("folders", self.outbox.dead[0][1])
        self.assertEqual(self.outbox.left(), 0)

    def test_at_the_top(self):
        tracked = self.finish(
            self.outbox.document("metrics.json", b"{}"), before_end=self.mlflow.end_run
        )
        self.assertEqual(tracked.files(), ["metrics.json"])

    def test_a_folder_of_that_name(self):
        def before_end():
            self.mlflow.runs["m"].put(self.PATH + "/x", b"")
            self.mlflow.end_run()

        tracked = self.finish(self.summary, before_end=before_end)
        self.assertEqual(tracked.get(self.ASIDE), SUMMARY)

    def test_a_document_that_the_run_does_not_have(self):
        self.outbox.documents.clear()
        self.finish(self.summary, TAGS)
        self.assertEqual((self.outbox.left(), len(self.outbox.dead)), (0, 1))


class TogetherTest(DeliverTest):
    """Several items in one question, one batch and one acknowledgement."""

    def deliver(self, *sizes, uri="sqlite:////m.db", version="3.17.2"):
        """How many keys were in each batch."""
        items = [metrics(*("%d.%d" % (n, i) for i in range(size))) for n, size in enumerate(sizes)]
        self.mlflow.modules["mlflow"].__version__ = version
        tracked = self.finish(*items, TAGS, uri=uri)
        self.assertEqual(len(tracked.metrics), sum(sizes))
        self.assertEqual((self.outbox.left(), self.outbox.dead), (0, []))
        tracked.metrics.clear()
        return [len(call[1]) for call in self.mlflow.calls if call[0] == "log_batch"]

    def test_as_many_as_the_store_takes(self):
        for uri, version, expected in (
            ("http://h", "3.17.2", [100, 90, 40, 1]),  # of the server nobody knows the version
            ("sqlite:////m.db", "3.17.2", [230, 1]),
            ("sqlite:////m.db", "3.9.2", [100, 90, 40, 1]),
            ("sqlite:////m.db", "dev", [100, 90, 40, 1]),
            ("file:///m", "2.12.2", [230, 1]),
            ("/m", "2.12.2", [230, 1]),
            ("postgresql+psycopg2://h/db", "3.10.0", [230, 1]),
            ("databricks", "3.17.2", [100, 90, 40, 1]),
        ):
            with self.subTest(uri=uri, version=version):
                self.mlflow.calls.clear()
                self.outbox.deliveries.clear()
                self.assertEqual(self.deliver(60, 40, 90, 40, uri=uri, version=version), expected)

    def test_no_batch_is_longer_than_any_store_takes(self):
        self.assertEqual(self.deliver(*[100] * 21), [1000, 1000, 100, 1])

    def test_one_question_and_one_acknowledgement(self):
        self.deliver(100, 100, 100)
        self.assertEqual(len(self.agent.called("outbox.take")), 1)
        self.assertEqual([len(told["more"]) for told in self.agent.called("outbox.ack")], [2, 0])

    def test_an_agent_that_gives_one_at_a_time(self):
        self.outbox.takes_several = False
        self.assertEqual(self.deliver(10, 10, 10), [10, 10, 10, 1])
        self.assertEqual(len(self.agent.called("outbox.take")), 4)


class RefusalTest(DeliverTest):
    def test_what_mlflow_never_takes(self):
        def refuse(name, keys):
            if "bad" in keys:
                raise MlflowException("invalid name", "INVALID_PARAMETER_VALUE")

        self.mlflow.before = refuse
        tracked = self.finish(metrics("a", "bad", "b"), metrics("c"))
        self.assertEqual(tracked.metrics, points("a", "b", "c"))
        self.assertEqual(self.outbox.left(), 0)
        (item, error), = self.outbox.dead  # fmt: skip
        self.assertEqual(item["kind"], "metrics")
        self.assertEqual(error, "1 of 3 metrics refused: bad: invalid name")

    def test_what_is_not_json(self):
        self.outbox.add("r", metrics("a"))
        self.outbox.items[1][0]["body"] = "{"
        self.finish()
        self.assertIn("not JSON", self.outbox.dead[0][1])

    def test_a_deleted_or_missing_run_loses_nothing(self):
        def delete():
            self.mlflow.runs["m"].info.lifecycle_stage = "deleted"

        self.finish(metrics("a"), before_end=delete)
        self.finish(before_end=self.mlflow.runs.clear)
        self.assertEqual((self.outbox.left(), self.outbox.dead), (1, []))

    def test_no_run_is_named(self):
        self.outbox.add("r", metrics("a"), settings={})
        self.finish()
        self.assertEqual((self.outbox.left(), self.outbox.dead), (1, []))

    def test_the_end_is_set_only_while_it_runs(self):
        tracked = self.finish(END)
        self.assertEqual((tracked.info.status, tracked.info.end_time), ("KILLED", 77))
        tracked.info.status = "FAILED"
        self.finish(END)
        self.assertEqual((tracked.info.status, self.outbox.left(2)), ("FAILED", 0))


class MadeRunTest(DeliverTest):
    CREATE = ("create", {"run_name": "n", "start_time": 5})

    def deliver(self, *items, **more):
        self.outbox.add("r", *items)
        settings = {"mlflow_tracking_uri": "file:///x", "mlflow_create": True, **more}
        run = self.start(run_id="r", tracker=settings)
        run.end()

    def created(self):
        return [call for call in self.mlflow.calls if call[0].startswith("create_")]

    def test_made_once(self):
        self.outbox.lose_acks = 1
        self.deliver(self.CREATE, metrics("a"), self.summary, END, mlflow_experiment="e")
        self.assertEqual(self.outbox.left(), 4)
        self.deliver(mlflow_experiment="e")
        expected = [("create_experiment", "e"), ("create_run", "1", 5, "n")]
        self.assertEqual(self.created(), expected)
        made = self.mlflow.runs["made0"]
        self.assertEqual(made.tags, {"lezea_monitor.created_for": "k-1"})
        self.assertEqual((made.metrics, made.info.status), (points("a"), "KILLED"))
        self.assertEqual(made.files(), ["resources/summary.json"])  # nobody else logs to it

    def test_found_again_for_what_is_left(self):
        self.deliver(self.CREATE)
        self.deliver(metrics("a"))
        self.assertEqual(self.created(), [("create_run", "0", 5, "n")])
        self.assertEqual(self.mlflow.runs["made0"].metrics, points("a"))

    def test_gone(self):
        self.deliver(metrics("a"))
        self.assertEqual((self.outbox.left(), self.outbox.dead), (1, []))


class CommandTest(DeliverTest):
    def setUp(self):
        super().setUp()
        self.tracked = self.mlflow.start_run("m")
        self.mlflow.end_run()
        self.agent.runs.add("r")
        self.outbox.settings = {"mlflow_tracking_uri": "http://h", "mlflow_run_id": "m"}

    def command(self, *arguments):
        """Status, stdout, stderr. The fake mlflow is the one that is imported."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = deliver_command.main(list(arguments))
            except SystemExit as end:
                status = end.code
        return status, out.getvalue(), err.getvalue()

    def test_delivered(self):
        self.set_environment("MLFLOW_TRACKING_URI", "http://u:p@h/")
        self.outbox.add("r", *self.everything())
        status, out, err = self.command("r")
        self.assertEqual((status, out), (0, "run r: 4 items delivered\n"))
        self.assertEqual(err.splitlines()[0], "lezea_monitor.deliver: metrics, 2 left")
        self.assertEqual(self.tracked.metrics, points("a", "b", "c"))
        self.assertEqual(self.tracked.files(), ["resources/summary.json"])
        self.assertEqual(self.mlflow.addresses, ["http://u:p@h/"])
        self.assertEqual(self.command("r")[:2], (0, "run r: nothing waits\n"))

    def test_json(self):
        self.outbox.add("r", metrics("a"))
        status, out, _ = self.command("r", "--json", "--socket", self.agent.path)
        delivery = {"id": 1, "attempt": 1, "sink": "mlflow http://h", "delivered": 1}
        delivery.update(refused=[], with_client=0, waiting=0)
        expected = {"run_id": "r", "delivered": 1, "complete": True, "deliveries": [delivery]}
        self.assertEqual((status, json.loads(out)), (0, expected))

    def test_not_all(self):
        self.outbox.add("r", metrics("a"), for_agent=True, error="503")
        status, out, err = self.command("r", "--json")
        self.assertEqual((status, json.loads(out)["complete"]), (1, False))
        self.assertIn("mlflow http://h: 1 items wait for the agent: 503", err)
        self.outbox.add("r", ("metrics", 7))
        status, _, err = self.command("r")
        self.assertEqual((status, len(self.outbox.dead)), (1, 1))
        self.assertIn("refused for good: not a JSON object", err)

    def test_errors(self):
        for arguments, status, text in (
            (("no",), 1, "run no: no such run"),
            ((), 2, "required: RUN"),
            (("a/b",), 2, "run id 'a/b': expected"),
            (("r", "--what"), 2, "unrecognized arguments: --what"),
            (("r", "--socket", "/nowhere"), 3, "no agent: /nowhere: "),
        ):
            with self.subTest(arguments):
                got, out, err = self.command(*arguments)
                self.assertEqual((got, out, err.count("\n")), (status, "", 1))
                self.assertIn(text, err)
        status, out, _ = self.command("--help")
        self.assertEqual(status, 0)
        self.assertIn("Exit status: 0", out)

    def test_as_a_module_without_mlflow(self):
        self.outbox.add("r", metrics("a"))
        with open(os.path.join(self.folder, "mlflow.py"), "w") as file:
            file.write("raise ModuleNotFoundError(\"No module named 'mlflow'\")")
        environment = child_environment()
        environment["PYTHONPATH"] = self.folder + os.pathsep + environment["PYTHONPATH"]
        done = subprocess.run(
            [sys.executable, "-m", "lezea_monitor.deliver", "r"],
            env=environment, timeout=60, capture_output=True, text=True,
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        expected = "lezea_monitor.deliver: mlflow: No module named 'mlflow'; expected it installed"
        self.assertTrue(done.stderr.startswith(expected), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
