"""The connection: restarts, slow, hostile and missing agents. Recording never notices."""

import logging
import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from unittest import mock

import lezea_monitor as lm
from lezea_monitor import wire
from lezea_monitor.session import Waiting

from .fake_agent import FakeAgent, error
from .helpers import AgentTest, child_environment, python


class ReconnectTest(AgentTest):
    def test_a_bug_of_ours_reaches_nobody(self):
        run = self.start()
        run.usage()
        with mock.patch("lezea_monitor.run.END_SECONDS", 2.0):
            with mock.patch.object(run._link, "_turn", side_effect=ValueError("ours")):
                with self.assertLogs("lezea_monitor", "WARNING"):
                    run.end()

    def test_same_run_same_rings_all_scopes_again(self):
        run = self.start("e", name="n")
        with run.builder("b"), run.layer("x"):
            pass
        run.usage()
        inode = self.agent.rings[0].inode
        self.agent.kill()
        self.agent.wait(lambda: run._link._session is None)
        with run.builder("meanwhile"):
            run.event("meanwhile")
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.rings) == 2)
        self.assertEqual(self.agent.rings[1].inode, inode)
        self.assertEqual(len(self.agent.called("run.start")), 1)  # it is there already
        opened = self.agent.called("session.open")
        self.assertEqual(opened[0]["tid"], opened[1]["tid"])
        self.agent.wait(lambda: self.agent.called("run.event"))
        self.assertEqual(self.agent.called("run.event")[0]["event"], "meanwhile")
        paths = [path for path, _ in self.mine()]
        self.assertEqual(paths[-2:], ["builder:meanwhile", ""])
        self.assertEqual(paths[0], "builder:b")
        self.assertIsNotNone(run.usage().columns)
        self.assertEqual(run.dropped, 0)

    def test_an_agent_without_memory_is_told_of_the_run_again(self):
        run = self.start("e", name="n")
        self.agent.kill()
        self.agent.runs.clear()
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.rings) == 2)
        first, second = self.agent.called("run.start")
        self.assertEqual(second, dict(first, run_id=run.id))

    def test_a_primary_thread_that_has_gone_is_not_named_again(self):
        runs = []
        thread = threading.Thread(target=lambda: runs.append(self.start()))
        thread.start()
        thread.join()
        task = "/proc/self/task/%d" % runs[0]._link.identity.tid
        self.agent.wait(lambda: not os.path.exists(task))
        self.agent.kill()
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.called("session.open")) == 2)
        self.assertNotIn("tid", self.agent.called("session.open")[1])

    def test_usage_asked_while_the_agent_restarts(self):
        run = self.start()
        self.agent.kill()
        self.agent.wait(lambda: run._link._session is None)
        self.agent.replies["run.usage"] = {"inclusive": {"cpu_seconds": 2.0}}
        threading.Timer(0.2, self.agent.start).start()
        self.assertEqual(run.usage().cpu_seconds, 2.0)

    def test_a_final_refusal_ends_the_attempts(self):
        run = self.start()
        self.agent.kill()
        self.agent.replies["session.open"] = error("run_ended", "the run is over")
        self.agent.start()
        self.agent.wait(lambda: not run._link._thread.is_alive())
        with run.layer("x"):
            run.event("e")
        self.assertIsNone(run.usage().cpu_seconds)
        self.assertEqual(len(self.agent.called("session.open")), 2)

    def test_a_phase_is_with_the_agent_before_what_follows_it(self):
        run = self.start(run_id="r")
        run.phase("train")
        self.assertEqual([call["name"] for call in self.agent.called("run.phase")], ["train"])
        self.agent.stalled.set()
        run.event("wake")  # makes the agent notice that it reads nothing
        begun = time.monotonic()
        run.phase("eval")
        self.assertLess(time.monotonic() - begun, 2)
        self.agent.stalled.clear()
        self.agent.wait(lambda: len(self.agent.called("run.phase")) == 2)
        self.assertEqual(run.dropped, 0)

    def test_a_phase_that_a_killed_agent_did_not_answer_is_said_to_the_next(self):
        run = self.start(run_id="r")
        run.phase("load")
        self.agent.replies["run.phase"] = lambda params: self.agent.kill()
        run.phase("train")
        del self.agent.replies["run.phase"]
        run.phase("eval")  # there is no agent, or the connection's end was not noticed yet
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.called("run.phase")) >= 4)
        said = [call["name"] for call in self.agent.called("run.phase")]
        self.assertEqual(said, ["load", "train", "train", "eval"])

    def test_an_end_that_an_agent_did_not_answer_is_asked_of_the_next(self):
        run = self.start(run_id="r")

        def come_back():
            self.agent.replies["run.end"] = {"final": True, "totals": {"cpu_seconds": 2.0}}
            self.agent.start()

        def go_away(_params):
            self.agent.kill()
            self.agent.replies["session.open"] = error("run_ended", "the run is over")
            threading.Timer(0.2, come_back).start()

        self.agent.replies["run.end"] = go_away
        run.end("FAILED", "did not converge")
        self.assertEqual(len(self.agent.called("session.open")), 1)
        said = [(call["status"], call["reason"]) for call in self.agent.called("run.end")]
        self.assertEqual(said, [("FAILED", "did not converge")] * 2)
        self.assertEqual(run.usage().cpu_seconds, 2.0)

    def test_an_end_that_is_asked_just_after_its_connection_was_lost_is_asked_of_the_next(self):
        run = self.start(run_id="r")
        run._link.is_last = True
        self.agent.kill()
        self.agent.wait(lambda: run._link._session is None)
        threading.Timer(0.2, self.agent.start).start()
        run.end()
        self.assertEqual(len(self.agent.called("run.end")), 1)
        self.assertEqual(len(self.agent.called("session.open")), 1)

    def test_what_is_asked_once_a_connection_is_lost_waits_for_the_next(self):
        run = self.start()
        link, asked = run._link, []
        drop = link._drop_session

        def drop_slowly():  # on the link's thread, which has told all who waited by now
            drop()
            asked.append(link.ask_ahead("run.usage", {"run_id": run.id}))

        link._drop_session = drop_slowly
        self.agent.kill()
        self.agent.wait(lambda: asked)
        link._drop_session = drop
        self.agent.replies["run.usage"] = {"inclusive": {"cpu_seconds": 2.0}}
        self.agent.start()
        self.assertTrue(asked[0].done.wait(5))
        self.assertIsNone(asked[0].error)

    def test_a_transient_refusal_is_tried_again(self):
        run = self.start()
        self.agent.kill()
        self.agent.replies["session.open"] = error("too_many", "busy")
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.called("session.open")) >= 3)
        del self.agent.replies["session.open"]
        self.agent.wait(lambda: len(self.agent.rings) == 2)
        self.assertTrue(run._link._thread.is_alive())

    def test_a_large_tree_is_defined_in_batches(self):
        run = self.start()
        for number in range(3000):
            with run.tasker("t%d" % (number % 30)), run.layer("long name " * 12 + str(number)):
                pass
        self.agent.wait(lambda: sum(map(len, self.agent.scopes.values())) == 3030)
        self.agent.kill()
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.scopes) == 2)
        second = list(self.agent.scopes.values())[1]
        self.agent.wait(lambda: len(second) == 3030)

    def test_dropped_notification_is_counted(self):
        run = self.start()
        with self.assertLogs("lezea_monitor", logging.WARNING):
            logging.getLogger("lezea_monitor").setLevel(logging.WARNING)
            message = {"method": "dropped", "params": {"ids": [1, 2], "reason": "too many"}}
            run._link._on_notification(message)
            run._link._on_notification(message)
        self.assertEqual(run.dropped, 4)


class WaitingTest(unittest.TestCase):
    def test_a_reply_that_came_before_its_connection_was_lost_stands(self):
        waiting = Waiting()
        number, answered = waiting.expect()
        _, unanswered = waiting.expect()
        waiting.resolve({"id": number, "result": {"final": True}})
        lost = wire.Unavailable("the connection is gone")
        waiting.fail(lost)
        self.assertEqual(answered.result, {"final": True})
        self.assertIsNone(answered.error)
        self.assertTrue(unanswered.done.is_set())
        self.assertIs(unanswered.error, lost)


class SlowAgentTest(AgentTest):
    def record(self, run):
        """A lot of everything; the longest that one call took, in seconds."""
        longest = 0.0
        for number in range(3000):
            begin = time.monotonic()
            with run.layer(number):
                run.event("e", text="x" * 3000)
                run.progress(steps=1)
            longest = max(longest, time.monotonic() - begin)
        return longest

    def test_a_stalled_agent_never_blocks(self):
        run = self.start()
        self.agent.stalled.set()
        self.assertLess(self.record(run), 1.0)
        self.assertGreater(run.dropped, 0)
        self.agent.stalled.clear()
        self.agent.wait(lambda: sum(map(len, self.agent.scopes.values())) == 3000)
        self.agent.wait(lambda: self.agent.called("run.progress"))

    def test_a_dead_agent_never_raises(self):
        run = self.start()
        self.agent.kill()
        self.assertLess(self.record(run), 1.0)
        begin = time.monotonic()
        run.end()
        self.assertLess(time.monotonic() - begin, 7)

    def test_end_at_exit_waits_two_seconds_at_most(self):
        self.agent.replies["run.end"] = lambda params: time.sleep(5) or {}
        code = "import lezea_monitor as lm; lm.start_run()"
        begin = time.monotonic()
        subprocess.run(python(code), check=True, env=child_environment(), timeout=60)
        self.assertLess(time.monotonic() - begin, 4.5)

    def test_requests_time_out(self):
        run = self.start()
        self.agent.delay = 1.0
        with mock.patch("lezea_monitor.run.USAGE_SECONDS", 0.1):
            self.assertEqual(run.usage().columns, {})
        self.agent.delay = 0.0


class HostileAgentTest(AgentTest):
    def test_refused_ring_is_a_warning(self):
        self.agent.replies["ring"] = {"refused": "not sealed"}
        logging.getLogger("lezea_monitor").setLevel(logging.WARNING)
        with self.assertLogs("lezea_monitor", logging.WARNING) as logs:
            run = self.start()
        self.assertIn("not sealed", logs.output[0])
        with run.layer("x"):
            pass
        self.assertTrue(run.active)

    def test_refused_session_ends_the_run_it_made(self):
        self.agent.replies["session.open"] = error("clock_mismatch", "clocks differ")
        run = lm.start_run(run_id="r")
        self.assertFalse(run.active)
        self.assertEqual(self.agent.called("run.end")[0]["status"], "FAILED")
        self.assertNotIn("LEZEA_RUN_ID", os.environ)

    def test_replies_that_are_none(self):
        for reply in (None, [], {"run_id": "x"}, {"protocol": 2}):
            self.agent.replies["hello"] = reply
            self.assertFalse(lm.start_run().active)
        self.agent.replies.clear()
        self.agent.replies["run.start"] = {}
        self.assertFalse(lm.start_run().active)
        run_reply = {"inclusive": [], "self": {"cpu_seconds": "much"}}
        self.agent.replies = {"run.usage": run_reply}
        run = self.start()
        self.assertEqual((run.usage().columns, run.usage().self_.columns), ({}, {}))

    def test_garbage_is_a_lost_connection(self):
        fair = b'[1]\n{"id":{}}\n{"method":"dropped"}\n'
        for garbage in (b"garbage\n", b"[" * 50000 + b"\n", fair):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                channel = wire.Channel(ours, lambda message: None)
                theirs.sendall(garbage)
                if garbage is not fair:
                    with self.assertRaises(wire.Unavailable):
                        channel.receive()
                else:
                    channel.receive()

    def test_an_endless_reply_is_refused(self):
        ours, theirs = socket.socketpair()
        with ours, theirs, mock.patch("lezea_monitor.wire.MAX_REPLY", 1000):
            channel = wire.Channel(ours, lambda message: None)
            theirs.sendall(b"x" * 2000)
            with self.assertRaises(wire.Unavailable):
                channel.receive()


class TrustTest(unittest.TestCase):
    def setUp(self):
        self.agent = FakeAgent()
        self.addCleanup(self.agent.close)

    def connect(self, own_folder):
        deadline = time.monotonic() + 5
        wire.connect(self.agent.path, socket.SOCK_STREAM, own_folder, deadline).close()

    def test_own_folder_must_be_private_and_no_link(self):
        self.connect(True)
        os.chmod(self.agent.folder, 0o755)
        with self.assertRaisesRegex(wire.Unavailable, "alone"):
            self.connect(True)
        self.connect(False)
        os.chmod(self.agent.folder, 0o700)
        link_path = tempfile.mkdtemp()
        self.addCleanup(os.rmdir, link_path)
        through = os.path.join(link_path, "link")
        os.symlink(self.agent.folder, through)
        self.addCleanup(os.unlink, through)
        with self.assertRaisesRegex(wire.Unavailable, "alone"):
            path = os.path.join(through, "agent.sock")
            wire.connect(path, socket.SOCK_STREAM, True, time.monotonic() + 5)

    def test_server_of_another_user(self):
        uid = os.getuid()
        with mock.patch.object(wire, "_UCRED") as ucred:
            ucred.size = 12
            for served_by, own_folder, trusted in (
                (0, True, True),
                (uid, True, True),
                (uid + 1, True, False),
                (uid + 1, False, False),
            ):
                ucred.unpack.return_value = (1, served_by, 0)
                if trusted:
                    self.connect(own_folder)
                else:
                    with self.assertRaisesRegex(wire.Unavailable, "not trusted"):
                        self.connect(own_folder)

    @unittest.skipIf(os.getuid() != 0, "needs root to give the folder away")
    def test_service_user_is_the_owner_of_the_folder(self):
        os.chown(self.agent.folder, 65534, 65534)
        with mock.patch.object(wire, "_UCRED") as ucred:
            ucred.size = 12
            ucred.unpack.return_value = (1, 65534, 0)
            self.connect(False)
            with self.assertRaises(wire.Unavailable):
                self.connect(True)

    def test_order_of_search(self):
        environment = {"XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/var/t"}
        with mock.patch.dict(os.environ, environment, clear=True):
            tail = "/var/t/lezea-monitor-%d/agent.sock" % os.getuid()
            expected = [
                (wire.SYSTEM_SOCKET, False),
                ("/run/user/7/lezea-monitor/agent.sock", True),
                (tail, True),
            ]
            self.assertEqual(wire.candidates(None), expected)
            os.environ["LEZEA_MONITOR_SOCKET"] = "/x/agent.sock"
            self.assertEqual(wire.candidates(None), [("/x/agent.sock", False)])
            self.assertEqual(wire.candidates("/y.sock"), [("/y.sock", False)])


class NoAgentTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.set_environment("LEZEA_MONITOR_SOCKET", self.agent.folder + "/none.sock")
        logging.getLogger("lezea_monitor").setLevel(logging.WARNING)

    def test_everything_works_and_warns_once(self):
        with self.assertLogs("lezea_monitor", logging.WARNING) as logs:
            for _ in range(3):
                with lm.start_run("e") as run:
                    with run.builder("b"), run.scope("any", 3), run.layer("x"):
                        run.event("e", a=1)
                        run.phase("p")
                        run.progress(steps=1)

                    @run.scoped("tasker", "t")
                    def work():
                        return 4

                    @run.tasker("t")
                    def other():
                        return 5

                    self.assertEqual((work(), other()), (4, 5))
                    self.assertIsNone(run.usage("builder:b").cpu_seconds)
                    self.assertIsNone(run.usage().self_.cpu_seconds)
                    self.assertFalse(run.active)
        self.assertEqual(len(logs.output), 1)
        self.assertNotIn("LEZEA_RUN_ID", os.environ)

    def test_another_platform(self):
        code = """
import sys
sys.platform = "darwin"
import lezea_monitor as lm
with lm.start_run() as run, run.layer("x"):
    assert not run.active
assert not {"fcntl", "resource", "socket", "mmap"} & set(sys.modules), sys.modules.keys()
"""
        done = subprocess.run(
            python(code), check=True, env=child_environment(), timeout=60, stderr=subprocess.PIPE
        )
        self.assertEqual(done.stderr.count(b"nothing is recorded"), 1)

    def test_a_dead_socket_file(self):
        self.agent.kill()
        self.set_environment("LEZEA_MONITOR_SOCKET", self.agent.path)
        with self.assertLogs("lezea_monitor", logging.WARNING):
            self.assertFalse(lm.start_run().active)

    def test_an_agent_that_hangs(self):
        self.agent.stalled.set()
        self.set_environment("LEZEA_MONITOR_SOCKET", self.agent.path)
        with mock.patch("lezea_monitor.run.START_SECONDS", 0.3):
            with self.assertLogs("lezea_monitor", logging.WARNING):
                self.assertFalse(lm.start_run().active)
