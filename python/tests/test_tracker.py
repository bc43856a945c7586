"""What the client says of the experiment tracker, and that looking for it harms nobody."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
from unittest import mock

import lezea_monitor as lm
from lezea_monitor.tracker import MAX_CHARS, Tracker
from lezea_monitor.tracker_address import clean_address

from .fake_mlflow import FakeMlflow
from .helpers import AgentTest, child_environment, python

CLEAN = {name: None for name in os.environ if name.startswith("MLFLOW_")}


class TrackerTest(AgentTest):
    """Without the tester's own variables and saved credentials; looks 100 times a second."""

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        for name in (*CLEAN, "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_TRACKING_TOKEN"):
            self.set_environment(name, None)
        self.set_environment("HOME", self.folder)
        quick = mock.patch("lezea_monitor.link.LOOK_SECONDS", 0.01)
        quick.start()
        self.addCleanup(quick.stop)

    def said(self):
        """The settings of run.start and of every update."""
        updates = self.agent.called("run.update")
        return [p.get("tracker") for p in self.agent.called("run.start") + updates]

    def end_what_runs(self):
        if lm.client._active is not None:
            lm.client._active.end()

    def wait_for(self, **settings):
        """Until these were said; meanwhile the link's thread is woken again and again."""
        link = lm.client._active._link

        def said():
            link._woken = False
            link.wake()
            return settings.items() <= (self.said()[-1] or {}).items()

        self.agent.wait(said)


class EnvironmentTest(TrackerTest):
    def test_nothing_is_said_of_nothing(self):
        self.start().end()
        self.assertNotIn("tracker", self.agent.called("run.start")[0])
        self.assertEqual(self.agent.called("run.update"), [])

    def test_variables(self):
        self.set_environment("MLFLOW_TRACKING_URI", "http://h:5000/prefix")
        self.set_environment("MLFLOW_RUN_ID", "abc")
        self.start()
        expected = {"mlflow_tracking_uri": "http://h:5000/prefix", "mlflow_run_id": "abc"}
        self.assertEqual(self.said(), [expected])

    def test_a_password_stays_here_and_is_a_credential(self):
        self.set_environment("MLFLOW_TRACKING_URI", "https://me:secret@h/p?token=secret")
        run = self.start()
        run.end()
        self.assertNotIn("secret", str(self.agent.calls))
        expected = {"mlflow_tracking_uri": "https://h/p", "mlflow_credentials": "client"}
        self.assertEqual(self.said(), [expected, expected])

    def test_credentials_of_this_process(self):
        self.set_environment("MLFLOW_TRACKING_TOKEN", "secret")
        self.start().end()
        self.assertEqual(self.said(), [None])  # for no tracker, none of anybody's business
        self.set_environment("MLFLOW_RUN_ID", "abc")
        self.start(run_id="second")
        expected = {"mlflow_run_id": "abc", "mlflow_credentials": "client"}
        self.assertEqual(self.said()[-1], expected)
        self.assertNotIn("secret", str(self.agent.calls))

    def test_saved_credentials(self):
        os.mkdir(os.path.join(self.folder, ".mlflow"))
        open(os.path.join(self.folder, ".mlflow", "credentials"), "w").close()
        self.set_environment("MLFLOW_RUN_ID", "abc")
        self.start()
        self.assertEqual(self.said()[0]["mlflow_credentials"], "client")

    def test_given(self):
        self.set_environment("MLFLOW_TRACKING_URI", "http://h")
        self.set_environment("MLFLOW_RUN_ID", "abc")
        both = {"mlflow_tracking_uri": "http://h", "mlflow_run_id": "abc"}
        cases = (
            (False, None),
            ({}, both),
            ({"mlflow_create": True}, dict(both, mlflow_create="true")),
            ({"mlflow_run_id": "x"}, dict(both, mlflow_run_id="x")),
            ({"mlflow_tracking_uri": "http://u:p@other"}, {"mlflow_tracking_uri": "http://other"}),
            ({"mlflow_run_id": None}, both),
        )
        for number, (given, expected) in enumerate(cases):
            with self.subTest(given):
                self.agent.calls.clear()
                self.start(run_id="r%d" % number, tracker=given).end()
                self.assertEqual(self.said(), [expected] * (2 if expected else 1))

    def test_what_is_too_long_is_not_sent(self):
        self.set_environment("MLFLOW_TRACKING_URI", "http://" + "x" * MAX_CHARS)
        self.start()
        self.assertEqual(self.said(), [None])

    def test_an_agent_without_memory_hears_it_again(self):
        self.set_environment("MLFLOW_RUN_ID", "abc")
        self.start()
        self.agent.kill()
        self.agent.runs.clear()
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.called("run.start")) == 2)
        self.assertEqual(self.said()[-1], {"mlflow_run_id": "abc"})

    def test_an_old_agent_that_refuses_it(self):
        self.set_environment("MLFLOW_RUN_ID", "abc")
        self.agent.replies["run.update"] = {"error": {"code": -32601, "message": "no method"}}
        run = self.start()
        run.end()
        self.assertEqual(len(self.agent.called("run.end")), 1)


class AddressTest(unittest.TestCase):
    def test_addresses(self):
        here = os.getcwd()
        for raw, clean in (
            ("http://u:p@h:1/x?q=1#f", "http://h:1/x"),
            ("http://a@b@h/@x", "http://h/@x"),
            ("postgresql+psycopg2://u:p@h/db?password=x", "postgresql+psycopg2://h/db"),
            ("sqlite:///m.db", "sqlite:///" + here + "/m.db"),
            ("sqlite:////a/m.db", "sqlite:////a/m.db"),
            ("sqlite:///:memory:", "sqlite:///:memory:"),
            ("mlruns", "file://" + here + "/mlruns"),
            ("file:mlruns", "file://" + here + "/mlruns"),
            ("file:/a/b%20c", "file:///a/b%20c"),
            ("file:///a", "file:///a"),
            ("databricks", "databricks"),
            ("mlflow-artifacts:/1/a", "mlflow-artifacts:/1/a"),
        ):
            self.assertEqual(clean_address(raw), clean)

    def test_the_folder_is_gone(self):
        with mock.patch("os.getcwd", side_effect=FileNotFoundError):
            self.assertEqual(clean_address("mlruns"), "")


class ActiveRunTest(TrackerTest):
    def each(self, check):
        for old in (False, True):
            with self.subTest(old=old):
                self.agent.calls.clear()
                with tempfile.TemporaryDirectory() as folder:
                    fake = FakeMlflow(self, folder, old)
                    check(fake)
                    fake.stack().clear()
                    self.end_what_runs()

    def test_begun_before(self):
        def check(fake):
            fake.start_run("outer")
            fake.start_run("inner")
            self.start()
            expected = {
                "mlflow_run_id": "inner",
                "mlflow_tracking_uri": "file:///tracked",
                "mlflow_artifact_uri": "s3://b/inner",
            }
            self.assertEqual(self.said(), [expected])
            fake.end_run()
            lm.client._active.end()
            self.assertEqual(self.said()[-1]["mlflow_run_id"], "outer")

        self.each(check)

    def test_begun_after_in_this_thread_and_seen_from_the_links(self):
        def check(fake):
            run = self.start()
            fake.uri = "http://me:secret@h"
            fake.start_run("later")
            self.wait_for(mlflow_run_id="later", mlflow_credentials="client")
            self.assertEqual(self.said()[-1]["mlflow_tracking_uri"], "http://h")
            self.assertEqual(run._tracker.own_address("http://h/"), "http://me:secret@h")
            fake.uri = "http://other"  # set_tracking_uri changes nothing for a run that has begun
            fake.start_run("nested")
            run.end()
            self.assertEqual(self.said()[-1]["mlflow_run_id"], "later")
            self.assertEqual(self.said()[-1]["mlflow_tracking_uri"], "http://h")

        self.each(check)

    def test_ended_before_the_end(self):
        def check(fake):
            run = self.start()
            fake.start_run("seen")
            self.wait_for(mlflow_run_id="seen")
            fake.end_run()
            run.end()
            self.assertEqual(self.said()[-1]["mlflow_run_id"], "seen")

        self.each(check)

    def test_began_and_ended_between_two_looks(self):
        def check(fake):
            fake.start_run("long ago")
            fake.end_run()
            with mock.patch("lezea_monitor.link.LOOK_SECONDS", 3600):
                run = self.start()
                fake.start_run("short")
                fake.end_run()
                run.end()
            self.assertEqual(self.said()[-1]["mlflow_run_id"], "short")
            self.start().end()
            self.assertNotIn("tracker", self.agent.called("run.start")[-1])  # of before

        self.each(check)

    def test_begun_in_another_thread(self):
        fake = FakeMlflow(self, self.folder)
        run = self.start()
        thread = threading.Thread(target=fake.start_run, args=("there",))
        thread.start()
        thread.join()
        run.end()
        self.assertEqual(self.said()[-1]["mlflow_run_id"], "there")

    def test_imported_without_a_run(self):
        FakeMlflow(self, self.folder)
        self.start().end()
        self.assertEqual(self.said(), [None])

    def test_a_forked_child_says_nothing(self):
        fake = FakeMlflow(self, self.folder)
        fake.start_run("parents")
        run = self.start(run_id="r")
        pid = os.fork()
        if pid == 0:
            try:
                fake.start_run("childs")
                with run.layer("x"):
                    pass
                run.usage()
                run.end()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self.assertEqual(len(self.agent.called("run.end")), 1)
        self.assertEqual([said["mlflow_run_id"] for said in self.said()], ["parents"])

    def test_mlflow_is_never_imported(self):
        with open(os.path.join(self.folder, "mlflow.py"), "w") as file:
            file.write("raise SystemExit(7)")
        code = "import sys; sys.path.insert(0, sys.argv[1]); import lezea_monitor as lm\n"
        code += "lm.start_run(); run = lm.start_run(); run.phase('p'); run._run.end()"
        environment = dict(child_environment(), MLFLOW_RUN_ID="x", MLFLOW_TRACKING_URI="file:///y")
        self.agent.replies["run.update"] = {"tracker": {"by": "client"}}
        done = subprocess.run(
            python(code, self.folder), env=environment, timeout=60, check=True, capture_output=True
        )
        self.assertIn(b"python -m lezea_monitor.deliver", done.stderr)
        self.assertEqual(self.said()[-1]["mlflow_run_id"], "x")


class Hostile(types.ModuleType):
    """A module of which nothing is what it should be."""

    def __init__(self, name, answer):
        super().__init__(name)
        self.__dict__["answer"] = answer

    def __getattr__(self, name):
        return self.answer


class HostileTest(TrackerTest):
    def install(self, module):
        for name in ("mlflow", "mlflow.tracking", "mlflow.tracking.fluent", "mlflow.entities"):
            patch = mock.patch.dict(sys.modules, {name: module})
            patch.start()
            self.addCleanup(patch.stop)

    def test_whatever_stands_there(self):
        def raising(*_):
            raise RuntimeError("mlflow's")

        odd = (None, 7, object(), "x", [1], raising, Hostile("deep", raising), lambda: "nonsense")
        for number, answer in enumerate(odd):
            for module in (answer, Hostile("mlflow", answer)):
                with self.subTest(repr(module)):
                    self.install(module)
                    run = self.start(run_id="r%d" % number)
                    run.end()
                    self.assertEqual(self.said()[-1], None)

    def test_half_imported(self):
        fake = FakeMlflow(self, self.folder)
        fake.start_run("x")
        for module in fake.modules.values():
            module.__spec__ = types.SimpleNamespace(_initializing=True)
        run = self.start()
        self.assertEqual(self.said(), [None])
        for module in fake.modules.values():
            module.__spec__ = None
        run.end()
        self.assertEqual(self.said()[-1]["mlflow_run_id"], "x")

    def test_one_that_hangs_is_asked_once(self):
        fake = FakeMlflow(self, self.folder)
        asked = []
        hanging = threading.Event()

        def active_run():
            asked.append(threading.current_thread())
            hanging.wait(1.0)

        fake.modules["mlflow"].active_run = active_run
        run = self.start()
        begin = time.monotonic()
        for _ in range(100):
            run.progress(steps=1)
            run.phase("p")
            run.event("e")
            with run.layer("x"):
                pass
        run.end()
        self.assertLess(time.monotonic() - begin, 0.9)
        self.assertEqual(asked, [threading.current_thread()])

    def test_a_run_without_an_address(self):
        fake = FakeMlflow(self, self.folder)
        fake.start_run("x").info.artifact_uri = 7
        fake.modules["mlflow"].get_tracking_uri = None
        self.start()
        self.assertEqual(self.said(), [{"mlflow_run_id": "x"}])

    def test_a_mapping_that_is_none(self):
        class Broken:
            def __str__(self):
                raise ValueError

        self.assertEqual(Tracker(7).look(), {})
        self.assertEqual(Tracker({Broken(): Broken()}).look()["Broken"], "Broken")
