"""Limits as a program has them: what is sent, what is heard, and who is called back."""

import os
import sys
import threading
import time

import lezea_monitor as lm
from lezea_monitor.limits import REFRESH_SECONDS, Limits, checked, merged

from .fake_agent import error
from .helpers import AgentTest


def state(word="ok", used=1.0, value=10.0, **more):
    return dict({"limit": "steps", "value": value, "used": used, "state": word}, **more)


class Question:
    """As a link has one that waits for its answer."""

    def __init__(self):
        self.done = threading.Event()
        self.error = None
        self.result = {}

    def answer(self, states):
        self.result = {"limits": states}
        self.done.set()


class LimitsTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.states = [state()]
        self.agent.replies["run.usage"] = lambda params: {"limits": self.states}
        self.agent.replies["run.update"] = lambda params: {"limits": self.states}
        self.agent.replies["run.start"] = self.started
        self.heard = []
        self.threads = set()

    def started(self, params):
        run_id = params.get("run_id", "r1")
        self.agent.runs.add(run_id)
        return {"run_id": run_id, "created": True, "limits": self.states}

    def on_limit(self, given):
        with self.agent.changed:
            self.heard.append((given["event"], given["limit"], given["state"]))
            self.threads.add(threading.current_thread())
            self.agent.changed.notify_all()

    def tell(self, word, **more):
        event = {"warned": "limit_warning", "exceeded": "limit_exceeded"}[word]
        params = {"run_id": "r1", "attempt": 1, "event": event}
        self.agent.tell("limit", dict(params, **state(word, **more)))

    def wait_heard(self, count):
        self.agent.wait(lambda: len(self.heard) >= count)

    def test_are_said_at_the_start_and_changed_by_name(self):
        limits = {"steps": 10, "levels": {"tasker": {"steps": 5}}, "on_exceeded": "tell"}
        run = self.start(run_id="r1", limits=limits)
        self.assertEqual(self.agent.called("run.start")[0]["limits"], limits)
        self.assertTrue(run.set_limits({"steps": None, "experiment": {"cost": 3}}))
        told = {"run_id": "r1", "limits": {"steps": None, "experiment": {"cost": 3}}}
        self.assertEqual(self.agent.called("run.update"), [told])
        self.assertFalse(run.set_limits({"step": 3}))  # a warning; the training goes on
        self.agent.replies["run.update"] = error("too_many", "limitsPerRun")
        self.assertFalse(run.set_limits({"steps": 3}))
        self.assertEqual(run.limits, self.states)

    def test_that_are_none_are_an_error_before_anything_is_sent(self):
        for wrong, text in (
            ({"core_hour": 1}, "did you mean core_hours"),
            ({"steps": 0}, "above 0"),
            ({"steps": float("nan")}, "above 0"),
            ({"steps": True}, "above 0"),
            ({"levels": {"tasker": {"memory_bytes": 1}}}, "no limit here is called"),
            ({"scopes": 3}, "a mapping"),
            ({"on_exceeded": "kill"}, "one of tell, refuse, terminate"),
            ({"grace_seconds": -1}, "from 0 to 86400"),
        ):
            with self.assertRaisesRegex(ValueError, text):
                lm.start_run(limits=wrong)
        self.assertEqual(self.agent.calls, [])

    def test_callback_is_called_once_each_on_a_thread_of_its_own(self):
        run = self.start(run_id="r1", limits={"steps": 10}, on_limit=self.on_limit)
        self.assertFalse(run.should_stop)
        for word, used in (("warned", 8), ("warned", 8), ("exceeded", 10), ("warned", 8)):
            self.states = [state("exceeded" if used == 10 else word, used)]
            self.tell(word, used=used)
        self.wait_heard(2)
        self.agent.wait(lambda: run.should_stop)
        words = [("limit_warning", "steps", "warned"), ("limit_exceeded", "steps", "exceeded")]
        self.states = [state("exceeded", 10)]
        self.assertEqual(run.limits[0]["used"], 10)
        self.assertEqual(self.heard, words)
        self.assertEqual([t.name for t in self.threads], ["lezea-monitor-limits"])
        self.assertEqual([t.daemon for t in self.threads], [True])
        # A limit that was raised is told again.
        self.states = [state("ok", 10, 100)]
        self.assertTrue(run.set_limits({"steps": 100}))
        self.assertFalse(run.should_stop)
        self.states = [state("warned", 80, 100)]
        self.tell("warned", used=80, value=100)
        self.wait_heard(3)
        self.assertEqual(self.heard[2:], words[:1])

    def test_an_answer_from_before_a_change_is_not_taken_after_it(self):
        asked = Question()
        limits = Limits(lambda: asked, states=[state("exceeded", 10)])
        limits.refresh()
        asked.answer([state("exceeded", 10)])
        limits.hear([state("ok", 10, 100)])
        self.assertFalse(limits.should_stop())
        self.assertEqual(limits.states, [state("ok", 10, 100)])
        # Nor one whose question was on its way meanwhile.
        def ask():
            limits.hear([state("ok", 20, 100)])
            return asked

        limits._ask, ask_again = ask, limits._ask
        limits.refresh()
        self.assertFalse(limits.should_stop())
        limits._ask = ask_again
        # The next question is asked, and its answer taken.
        limits.refresh()
        self.assertEqual(limits.states, [state("ok", 20, 100)])
        self.assertTrue(limits.should_stop())

    def test_callback_that_raises_or_takes_its_time_harms_nobody(self):
        inside, release = threading.Event(), threading.Event()

        def slow(given):
            self.on_limit(given)
            inside.set()
            release.wait(10)
            raise RuntimeError("the program's own")

        run = self.start(run_id="r1", on_limit=slow)
        self.tell("warned")
        self.assertTrue(inside.wait(10))
        self.assertIsNotNone(run.usage("a:b", fresh=True))  # the connection goes on
        self.tell("exceeded")
        self.agent.wait(lambda: run.should_stop)
        release.set()
        self.wait_heard(2)

    def test_callback_that_exits_is_called_again(self):
        def leave(given):
            self.on_limit(given)
            sys.exit(3)

        self.start(run_id="r1", on_limit=leave)
        self.tell("warned")
        self.wait_heard(1)
        self.tell("exceeded")
        self.wait_heard(2)

    def test_budget_that_was_used_up_before_the_start(self):
        self.states = [state("exceeded", 12, experiment="demo")]
        run = self.start("demo", run_id="r1", on_limit=self.on_limit)
        self.assertTrue(run.should_stop)
        self.wait_heard(2)
        self.assertEqual([event for event, _, _ in self.heard], ["limit_warning", "limit_exceeded"])

    def test_start_over_budget_is_an_exception_where_it_was_asked_for(self):
        self.agent.replies["run.start"] = error("over_budget", "over budget: limit experiment.cost")
        with self.assertRaisesRegex(lm.OverBudget, "experiment.cost"):
            lm.start_run("demo", limits={"on_exceeded": "refuse"})
        self.agent.replies["run.start"] = self.started
        self.assertTrue(self.start("demo").active)

    def test_should_stop_waits_for_nothing_and_asks_once_a_second(self):
        run = self.start(run_id="r1")
        self.agent.wait(lambda: len(self.agent.called("run.usage")) == 1)  # after the connection
        self.agent.stalled.set()
        begun = time.monotonic()
        while time.monotonic() < begun + 2.5 * REFRESH_SECONDS:
            before = time.monotonic()
            self.assertFalse(run.should_stop)
            self.assertLess(time.monotonic() - before, 0.5)
        self.states = [state("exceeded", 11)]
        self.agent.stalled.clear()
        self.agent.wait(lambda: run.should_stop)
        self.assertLessEqual(len(self.agent.called("run.usage")), 5)

    def test_what_was_missed_is_asked_for_after_a_restart_of_the_agent(self):
        run = self.start(run_id="r1", on_limit=self.on_limit)
        self.agent.wait(lambda: self.agent.called("run.usage"))
        self.agent.kill()
        self.states = [state("exceeded", 11)]
        self.agent.start()
        self.wait_heard(2)
        self.assertTrue(run.should_stop)

    def test_what_was_left_out_is_asked_for(self):
        self.start(run_id="r1", on_limit=self.on_limit)
        self.agent.wait(lambda: self.agent.called("run.usage"))
        self.states = [state("warned", 8)]
        self.agent.tell("resync", {"lost": 1})
        self.wait_heard(1)

    def test_agent_without_memory_is_told_again(self):
        run = self.start(run_id="r1", limits={"steps": 10})
        run.set_limits({"cost": 2})
        self.agent.kill()
        self.agent.runs.clear()
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.called("run.start")) == 2)
        self.assertEqual(self.agent.called("run.start")[1]["limits"], {"steps": 10, "cost": 2})

    def test_forked_child_reads_and_is_not_called(self):
        run = self.start(run_id="r1", on_limit=self.on_limit)
        self.tell("exceeded")
        self.wait_heard(2)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if run.should_stop and len(self.heard) == 2 else 1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_second_start_joins_with_its_limits(self):
        self.start(run_id="r1")
        inner = lm.start_run(limits={"steps": 3}, on_limit=self.on_limit)
        self.assertEqual(self.agent.called("run.update")[0]["limits"], {"steps": 3})
        self.tell("exceeded")
        self.wait_heard(2)
        self.assertTrue(inner.should_stop)

    def test_events_of_these_names_are_the_agents_own(self):
        run = self.start(run_id="r1")
        run.event("limit_exceeded")
        run.event("limit_of_my_own")
        self.agent.wait(lambda: self.agent.called("run.event"))
        self.assertEqual([e["event"] for e in self.agent.called("run.event")], ["limit_of_my_own"])
        self.assertEqual(run.dropped, 1)

    def test_no_agent_no_limits(self):
        self.set_environment("LEZEA_MONITOR_SOCKET", "/nowhere")
        run = lm.start_run(limits={"steps": 3, "on_exceeded": "refuse"}, on_limit=self.on_limit)
        self.assertEqual((run.active, run.should_stop, run.limits), (False, False, []))
        self.assertFalse(run.set_limits({"steps": 2}))

    def test_merging_and_copying(self):
        given = {"scopes": {"tasker:t": {"steps": 3}}}
        copy = checked(given)
        copy["scopes"]["tasker:t"]["steps"] = 9
        self.assertEqual(given, {"scopes": {"tasker:t": {"steps": 3}}})
        more = {"scopes": {"tasker:u": {"steps": 4}}, "cost": 1}
        self.assertEqual(
            merged(given, more),
            {"scopes": {"tasker:t": {"steps": 3}, "tasker:u": {"steps": 4}}, "cost": 1},
        )
