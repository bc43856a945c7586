"""LeZeA's ResourceLogger: methods and keys, sharing, and what happens where nothing is known."""

import json
import math
import os
import threading
import time
import unittest

from lezea_monitor import noop
from lezea_monitor.compat import ResourceLogger
from lezea_monitor.compat.figures import UNKNOWN

from .helpers import AgentTest

HOUR_COLUMNS = {
    "cpu_seconds": 3600.0,
    "memory_byte_seconds": 3600.0 * 2e9,
    "io_read_bytes": 10,
    "io_write_bytes": 5,
}


def usage(columns):
    """A reply to run.usage that is the same for every scope."""
    return {"inclusive": dict(columns), "self": dict(columns)}


class ResourceLoggerTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.agent.replies["run.usage"] = usage(HOUR_COLUMNS)
        self.run_ = self.start()
        self.parts = ResourceLogger()

    def test_one_part_is_a_scope_while_it_is_started(self):
        self.parts.register_part("tasker#0")
        self.parts.start("tasker#0")
        self.parts.start("tasker#0")
        self.parts.stop("tasker#0")
        self.assertEqual(self.mine(), [("part:tasker#0", 1), ("", 0)])
        totals = self.parts.get_totals()["tasker#0"]
        known = {key: totals[key] for key in ("cpu_h", "mem_gb_h", "io_bytes")}
        self.assertEqual(known, {"cpu_h": 1.0, "mem_gb_h": 2.0, "io_bytes": 15.0})
        self.assertGreater(totals["elapsed_s"], 0)

    def test_two_parts_of_a_process_share(self):
        self.agent.replies["run.usage"] = lambda params: usage(
            {"cpu_seconds": {"part:a": 3600.0, "part:a+b": 1800.0}[params["scope"]]}
        )
        for name in ("a", "b"):
            self.parts.start(name)
        self.assertEqual(self.mine(), [("part:a", 1), ("", 0), ("part:a+b", 1)])
        totals = self.parts.get_totals()
        self.assertEqual(totals["a"]["cpu_h"], 1.25)
        self.assertEqual(totals["b"]["cpu_h"], 0.25)
        self.parts.stop("a")
        self.parts.stop("b")

    def test_parts_that_begin_inside_another_scope_are_counted_once(self):
        """Then one scope of ours lies inside the other, whose figures hold it."""
        figures = {"part:a": 5.0, "part:a/layer:x/part:a+b": 3.0}
        self.agent.replies["run.usage"] = lambda params: usage(
            {"cpu_seconds": 3600 * figures[params["scope"]]}
        )
        self.parts.start("a")
        with self.run_.layer("x"):
            self.parts.start("b")
            totals = self.parts.get_totals()
        self.assertEqual(totals["a"]["cpu_h"], 3.5)
        self.assertEqual(totals["b"]["cpu_h"], 1.5)

    def test_a_name_that_looks_like_two_parts(self):
        for name in ("a", "b"):
            self.parts.start(name)
        for name in ("a", "b"):
            self.parts.stop(name)
        self.parts.start("a+b")
        paths = [path for path, _ in self.mine() if path]
        self.assertEqual(paths, ["part:a", "part:a+b", "part:b", "part:a+b'"])

    def test_samples_are_differences_and_add_up(self):
        columns = {"cpu_seconds": 36.0}
        self.agent.replies["run.usage"] = lambda params: usage(columns)
        self.parts.start("a")
        samples = [self.parts.sample("a")]
        columns["cpu_seconds"] = 90.0
        samples.append(self.parts.sample_all()["a"])
        self.assertEqual([round(sample["cpu_h"], 9) for sample in samples], [0.01, 0.015])
        self.assertAlmostEqual(self.parts.get_totals()["a"]["cpu_h"], 0.025)
        self.parts.stop("a")
        self.assertEqual(self.parts.sample_all(), {})

    def test_any_id(self):
        for name in (7, "org/model", "tasker#0", "layer:conv1"):
            self.parts.start(name)
            self.parts.stop(name)
        paths = [path for path, _ in self.mine() if path]
        wanted = ["part:7", "part:org%2Fmodel", "part:tasker#0", "part:layer%3Aconv1"]
        self.assertEqual(paths, wanted)
        totals = self.parts.get_totals()
        self.assertEqual(sorted(totals), ["7", "layer:conv1", "org/model", "tasker#0"])
        self.assertEqual(totals["org/model"]["cpu_h"], 1.0)

    def test_what_is_not_known_is_not_there_and_ends_no_program(self):
        self.parts.start("a")
        sample = self.parts.sample("a")
        self.assertNotIn("gpu_h", sample)
        self.assertNotIn("gpu_h", json.loads(json.dumps(sample)))
        self.assertIsNone(sample.get("gpu_h"))
        share = sample["gpu_h"] / 0.1 * 100.0
        self.assertTrue(math.isnan(share))
        self.assertTrue(math.isnan(sum(one["gpu_h"] for one in (sample, sample))))
        self.assertEqual(int(sample["gpu_h"]), 0)
        with self.assertRaises(KeyError):
            sample["gpu"]

    def test_another_process_is_bound_with_the_part_as_its_scope(self):
        child = os.getpid() + 1
        self.parts.register_part("worker", pid=child)
        self.parts.start("worker")
        self.parts.stop("worker")
        opened = [call for call in self.agent.called("session.open") if call.get("pid") == child]
        self.assertEqual([call["birth_scope"] for call in opened], ["part:worker", "part:(none)"])
        self.assertEqual(self.mine(), [])  # this thread works for nothing of it
        self.assertEqual(self.parts.get_totals()["worker"]["cpu_h"], 1.0)

    def test_a_process_that_the_agent_does_not_let_us_say_is_unknown(self):
        from .fake_agent import error

        self.agent.replies["session.open"] = error("not_authorized", "no descendant")
        self.parts.register_part("other", pid=1)
        self.parts.start("other")
        self.parts.stop("other")
        self.assertEqual(list(self.parts.get_totals()["other"]), ["elapsed_s"])

    def test_a_process_that_is_refused_is_not_asked_for_again(self):
        from .fake_agent import error

        self.agent.replies["session.open"] = error("not_authorized", "no descendant")
        self.parts.register_part("other", pid=1)
        for _ in range(3):
            self.parts.start("other")
            self.parts.stop("other")
        opened = [call for call in self.agent.called("session.open") if call.get("pid") == 1]
        self.assertEqual(len(opened), 1)

    def test_starting_a_part_does_not_wait_for_a_sample(self):
        asked, answered = threading.Event(), threading.Event()

        def slow(params):
            asked.set()
            answered.wait(10)
            return usage(HOUR_COLUMNS)

        self.agent.replies["run.usage"] = slow
        self.parts.start("a")
        sampler = threading.Thread(target=self.parts.sample, args=("a",))
        sampler.start()
        self.assertTrue(asked.wait(10))
        begun = time.monotonic()
        self.parts.start("b")
        self.parts.stop("b")
        self.assertLess(time.monotonic() - begun, 1.0)  # the sample waits for two seconds
        answered.set()
        sampler.join()

    def test_totals_stay_when_the_run_has_ended(self):
        self.parts.start("a")
        self.parts.stop("a")
        before = self.parts.get_totals()
        self.run_.end()
        self.assertEqual(self.parts.get_totals(), before)

    def test_a_part_that_was_never_started_used_nothing(self):
        self.parts.register_part("a")
        zeros = dict.fromkeys(("cpu_h", "mem_gb_h", "gpu_h", "io_bytes", "elapsed_s"), 0.0)
        self.assertEqual(self.parts.sample("a"), zeros)


class SeveralProcessesTest(AgentTest):
    """Of one run: none is in another's scopes, so that none counts another's use as its own."""

    def paths(self, **options):
        run = self.start(**options)
        parts = ResourceLogger(run)
        parts.start("a")
        parts.start("b")
        parts.stop("a")
        parts.stop("b")
        return [path for path, activation in self.mine() if activation]

    def test_one_that_attaches_to_a_run_has_parts_of_its_own(self):
        self.agent.runs.add("theirs")
        mark = "@%d" % os.getpid()
        wanted = ["part:a" + mark, "part:a+b" + mark, "part:b" + mark]
        self.assertEqual(self.paths(run_id="theirs"), wanted)

    def test_a_rank_has_parts_of_its_own(self):
        wanted = ["part:a@rank1", "part:a+b@rank1", "part:b@rank1"]
        self.assertEqual(self.paths(rank=1, world_size=2), wanted)

    def test_a_forked_child_has_parts_of_its_own(self):
        run = self.start()
        parts = ResourceLogger(run)
        parts.start("a")
        child = os.fork()
        if child == 0:
            try:
                parts.register_part("mine")
                parts.start("mine")
                paths = list(parts._shares.paths)
                os._exit(paths != ["part:a/part:mine@%d" % os.getpid()])
            finally:
                os._exit(2)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(list(parts._shares.paths), ["part:a"])


class WithoutAnAgentTest(unittest.TestCase):
    def test_lezeas_quick_start_goes_through(self):
        """Its arithmetic on every key, `int()` included."""
        parts = ResourceLogger(run=noop.NoRun())
        parts.start("tasker#0")
        sample = parts.sample("tasker#0")
        hours = max(1e-9, sample["elapsed_s"] / 3600.0)
        for key in ("cpu_h", "mem_gb_h", "gpu_h"):
            self.assertTrue(math.isnan(float(sample[key] / hours * 100.0)))
        self.assertEqual(int(sample["io_bytes"]), 0)
        totals = parts.get_totals()
        self.assertEqual(int(sum(total["io_bytes"] for total in totals.values())), 0)
        parts.stop("tasker#0")
        self.assertEqual(list(totals["tasker#0"]), ["elapsed_s"])
        self.assertIs(totals["tasker#0"]["cpu_h"], UNKNOWN)
