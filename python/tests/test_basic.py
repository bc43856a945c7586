"""One thread, one agent: start, nesting, records, reports, end."""

import os
import struct
import threading
import time

import lezea_monitor as lm

from .fake_agent import error
from .helpers import AgentTest


class BasicTest(AgentTest):
    def test_start_says_who_we_are(self):
        before = time.monotonic_ns()
        run = self.start("demo", run_id="r1", name="first", tags={"seed": 3})
        self.assertEqual((run.id, run.created, run.active), ("r1", True, True))
        self.assertEqual(self.agent.called("hello")[0]["protocols"], [1])
        self.assertEqual(
            self.agent.called("run.start"),
            [{"experiment": "demo", "name": "first", "tags": {"seed": "3"}, "run_id": "r1"}],
        )
        session = self.agent.called("session.open")[0]
        self.assertEqual(session["run_id"], "r1")
        self.assertEqual(session["tid"], threading.get_native_id())
        self.assertTrue(before <= session["t_ns"] <= time.monotonic_ns())

    def test_nesting_makes_the_tree_and_the_records(self):
        run = self.start()
        for _ in range(2):
            with run.builder("b0"), run.tasker("t3"):
                with run.network("policy"):
                    pass
        b, t, n = "builder:b0", "builder:b0/tasker:t3", "builder:b0/tasker:t3/network:policy"
        once = [(b, 1), (t, 1), (n, 1), (t, 0), (b, 0), ("", 0)]
        self.assertEqual(self.mine(), once * 2)
        scopes = next(iter(self.agent.scopes.values()))
        self.assertEqual(len(scopes), 3)  # the same scope under the same parent is one id
        with run.network("policy"):
            pass
        self.assertEqual(self.mine()[-2:], [("network:policy", 1), ("", 0)])

    def test_records_byte_for_byte(self):
        run = self.start()
        used, cpu, t = time.process_time_ns(), time.thread_time_ns(), time.monotonic_ns()
        with run.layer("x"):
            pass
        cpu_after, t_after = time.thread_time_ns(), time.monotonic_ns()
        ring = self.agent.rings[0]
        records = ring.lane_records(0)
        kinds = [record.kind for record in records]
        self.assertEqual(kinds, [2, 3, 4, 0, 0])  # the other stamps come before the switch
        for record in records:
            self.assertEqual(record.tid, threading.get_native_id())
            self.assertEqual(record.device, 0)
            self.assertTrue(t <= record.t <= t_after)
        io_read, io_write, process, enter, leave = records
        self.assertEqual((io_read.scope, io_write.scope, process.scope), (0, 0, 0))
        self.assertTrue(used <= process.value <= time.process_time_ns())
        self.assertEqual((io_read.value % 512, io_write.value % 512), (0, 0))
        self.assertEqual((enter.scope, enter.flags, leave.scope, leave.flags), (1, 1, 0, 0))
        self.assertTrue(cpu <= enter.value <= leave.value <= cpu_after)
        self.assertEqual(ring.head(0), 5)
        raw = struct.pack(
            "<QQIIBBHI", enter.t, enter.value, 1, threading.get_native_id(), 0, 0, 1, 4
        )
        self.assertEqual(os.pread(ring.fd, 32, ring.first + 3 * 32), raw)

    def test_io_stamps_at_most_every_ten_milliseconds(self):
        run = self.start()
        begin = time.monotonic_ns()
        for _ in range(2000):
            with run.layer("x"):
                pass
        elapsed = time.monotonic_ns() - begin
        stamps = [r for r in self.agent.rings[0].lane_records(0) if r.kind == 2]
        self.assertTrue(1 <= len(stamps) <= elapsed // 10_000_000 + 1)

    def test_io_delta_belongs_to_the_scope_left(self):
        run = self.start()
        with run.layer("idle"):
            pass
        with run.layer("writer"):
            deadline = time.monotonic() + 0.02
            while time.monotonic() < deadline:
                pass
        last = [r for r in self.agent.rings[0].lane_records(0) if r.kind == 3][-1]
        session = self.agent.rings[0].session
        self.assertEqual(self.agent.path_of(session, last.scope), "layer:writer")

    def test_any_level_and_out_of_order_exit(self):
        run = self.start()
        outer, inner = run.scope("phase", "warmup"), run.scope("dataloader", 7)
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        self.assertEqual(self.mine()[-1], ("phase:warmup/dataloader:7", 0))
        inner.__exit__(None, None, None)
        self.assertEqual(self.mine()[-1], ("", 0))

    def test_one_object_entered_twice(self):
        run = self.start()
        scope = run.layer("x")
        with scope:
            with scope:
                pass
            self.assertEqual(self.mine()[-1], ("layer:x", 0))
        with scope:
            pass
        expected = [("layer:x", 1), ("layer:x/layer:x", 1), ("layer:x", 0), ("", 0)]
        self.assertEqual(self.mine(), expected + [("layer:x", 1), ("", 0)])
        scope.__exit__(None, None, None)  # never entered: nothing to end
        self.assertEqual(run.dropped, 0)

    def test_reports(self):
        run = self.start(run_id="r")
        with run.builder("b"):
            run.phase("train")
            run.event("checkpoint", step=3, loss=float("nan"), odd=object())
            for _ in range(10):
                run.progress(steps=2, episodes=1)
        run.usage()  # a request: everything before it has arrived
        phase = self.agent.called("run.phase")[0]
        self.assertEqual((phase["run_id"], phase["name"]), ("r", "train"))
        event = self.agent.called("run.event")[0]
        self.assertEqual(event["event"], "checkpoint")
        self.assertEqual((event["data"]["step"], event["data"]["loss"]), (3, "nan"))
        progress = self.agent.called("run.progress")
        self.assertEqual(sum(p["steps"] for p in progress), 20)
        self.assertEqual(sum(p["episodes"] for p in progress), 10)
        self.assertLessEqual(len(progress), 3)
        self.assertEqual({p["scope"] for p in progress}, {"builder:b"})
        run.progress(steps="many")
        run.progress(steps=-1)
        run.event("large", text="x" * 20000)
        run.event("run.started")
        self.assertEqual(run.dropped, 4)

    def test_an_unknown_status_is_a_failure(self):
        run = self.start(name="a/b")
        self.assertEqual(self.agent.called("run.start")[0]["name"], "a%2Fb")
        run.end("SUCCESS")
        end = self.agent.called("run.end")[0]
        self.assertEqual((end["status"], end["reason"]), ("FAILED", "ended with status SUCCESS"))

    def test_usage(self):
        run = self.start()
        self.agent.replies["run.usage"] = lambda params: {
            "run_id": run.id, "scope": params.get("scope"), "status": "RUNNING",
            "self": {"cpu_seconds": 1.0}, "inclusive": {"cpu_seconds": 3.5, "new_column": 4},
            "unattributed": {"cpu_seconds": 0.25},
        }  # fmt: skip
        usage = run.usage("builder:b0", fresh=True)
        self.assertEqual(self.agent.called("run.usage")[0]["fresh"], True)
        self.assertEqual((usage.cpu_seconds, usage.self_.cpu_seconds), (3.5, 1.0))
        self.assertEqual(usage.unattributed.cpu_seconds, 0.25)
        self.assertEqual((usage.path, usage.status), ("builder:b0", "RUNNING"))
        self.assertIsNone(usage.io_read_bytes)
        self.assertIsNone(usage.gpu_energy_joules)
        run.end()
        self.assertEqual(run.usage().cpu_seconds, 1.5)  # what run.end was told: the whole run's
        self.assertIsNone(run.usage("builder:b0").cpu_seconds)
        self.assertEqual(usage.columns, {"cpu_seconds": 3.5, "new_column": 4})
        self.assertEqual(usage.new_column, 4)
        with self.assertRaises(AttributeError):
            usage.cpu_secnods
        self.agent.replies["run.usage"] = error("unknown_run", "no such scope")
        self.assertIsNone(run.usage("builder:none").cpu_seconds)

    def test_end_and_after(self):
        run = self.start(run_id="r")
        open_scope = run.layer("open")
        open_scope.__enter__()
        run.end("FAILED", "did not converge")
        ended = {"run_id": "r", "status": "FAILED", "reason": "did not converge"}
        self.assertEqual(self.agent.called("run.end"), [ended])
        records = len(self.agent.rings[0].records())
        open_scope.__exit__(None, None, None)
        with run.layer("later"):
            run.event("later")
            run.progress(steps=1)
        run.end()
        self.assertEqual(len(self.agent.rings[0].records()), records)
        self.assertEqual(len(self.agent.called("run.end")), 1)
        self.assertEqual(run.usage().cpu_seconds, 1.5)

    def test_a_second_run_after_the_first(self):
        for number in range(2):
            with lm.start_run(run_id="r%d" % number) as run:
                with run.layer("x"):
                    pass
        self.assertEqual([end["run_id"] for end in self.agent.called("run.end")], ["r0", "r1"])
        self.assertEqual(len({ring.inode for ring in self.agent.rings}), 2)
        self.assertEqual([r.scope for r in self.agent.rings[1].records() if r.kind == 0], [1, 0])

    def test_joining(self):
        with lm.start_run(run_id="r") as run:
            with lm.start_run() as inner, inner.layer("x"):
                self.assertEqual(inner.id, "r")
            other = lm.start_run(run_id="other")
            self.assertFalse(other.active)
            self.assertTrue(run.active)
        self.assertEqual(len(self.agent.called("run.end")), 1)
        self.assertEqual(self.mine(), [("layer:x", 1), ("", 0)])

    def test_attach_needs_an_existing_run(self):
        self.assertFalse(lm.start_run(attach="missing").active)
        self.assertEqual(self.agent.called("run.start"), [])
        self.agent.runs.add("there")
        run = self.start(attach="there")
        self.assertEqual((run.id, run.created), ("there", False))

    def test_environment(self):
        self.set_environment("LEZEA_RUN_ID", "from-env")
        run = self.start()
        self.assertEqual(run.id, "from-env")
        os.environ["LEZEA_RUN_ID"] = "changed"  # by the program: not ours to restore
        run.end()
        self.assertEqual(os.environ["LEZEA_RUN_ID"], "changed")
        del os.environ["LEZEA_RUN_ID"]
        run = self.start()
        self.assertEqual(os.environ["LEZEA_RUN_ID"], run.id)
        run.end()
        self.assertNotIn("LEZEA_RUN_ID", os.environ)

    def test_impossible_ids(self):
        for bad in ("", "../x", "a" * 65, "a\n"):
            with self.assertRaises(ValueError):
                lm.start_run(run_id=bad)
