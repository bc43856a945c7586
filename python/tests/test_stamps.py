"""The CPU stamps: read at most once in CPU_WINDOW_NS, never falling, never faster than time.

And those of the process's CPU clock: by the primary thread, at most once in PROCESS_INTERVAL_NS.
"""

import gc
import os
import random
import resource
import select
import tempfile
import threading
import time
import unittest

from lezea_monitor import scope
from lezea_monitor.lane import BLOCK_BYTES, CPU_WINDOW_NS, IO_INTERVAL_NS, PROCESS_INTERVAL_NS

from .fake_agent import Record
from .helpers import AgentTest

SLACK_NS = 1_000_000  # as the agent's: the two clocks are not read at the same instant
FAR = 1 << 62


class StampTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.recorded = self.start()
        with self.recorded.layer("x"):
            pass
        self.st = scope.state()

    def edges(self):
        number = self.st.lane[1]
        return [r for r in self.agent.rings[0].lane_records(number) if r.kind == 0]

    def enter_and_leave(self):
        with self.recorded.layer("x"):
            pass
        return self.edges()[-2:]

    def processes(self):
        """The stamps of the process's clock, of every thread."""
        return [r for r in self.agent.rings[0].records() if r.kind == 4]

    def test_the_process_clock_is_stamped_where_it_is_due_and_right_before_the_switch(self):
        self.assertEqual(len(self.processes()), 1)
        self.st.io_due = 0
        self.st.process_due = FAR
        self.enter_and_leave()
        self.assertEqual(len(self.processes()), 1)
        self.st.io_due = self.st.process_due = self.st.cpu_due = 0
        before = time.process_time_ns()
        enter = self.enter_and_leave()[0]
        stamp = self.processes()[-1]
        self.assertEqual(len(self.processes()), 2)
        self.assertTrue(before <= stamp.value <= time.process_time_ns())
        self.assertLessEqual(stamp.t, enter.t)
        self.assertEqual(self.st.process_due, stamp.t + PROCESS_INTERVAL_NS)
        kinds = [r.kind for r in self.agent.rings[0].lane_records(self.st.lane[1])]
        self.assertEqual(kinds[-3:], [4, 0, 0])

    def test_what_was_read_and_written_belongs_to_the_scope_that_is_left(self):
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(__file__))) as file:
            with self.recorded.layer("x"):
                inside = scope.current().id
                file.write(b"x" * 1_000_000)
                file.flush()
                os.fsync(file.fileno())
                self.st.io_due = self.st.cpu_due = 0
            usage = resource.getrusage(resource.RUSAGE_THREAD)
        stamps = [r for r in self.agent.rings[0].lane_records(self.st.lane[1]) if r.kind in (2, 3)]
        told = [(r.kind, r.value, r.scope) for r in stamps[-2:]]
        read, written = usage.ru_inblock * BLOCK_BYTES, usage.ru_oublock * BLOCK_BYTES
        self.assertEqual(told, [(2, read, inside), (3, written, inside)])
        self.assertEqual(self.st.io_due, stamps[-1].t + IO_INTERVAL_NS)

    def test_other_threads_do_not_stamp_the_process_clock(self):
        def work():
            with self.recorded.layer("y"):
                pass

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertEqual({r.tid for r in self.processes()}, {threading.get_native_id()})

    def test_inside_of_the_window_the_thread_counts_as_running(self):
        self.st.cpu_last = 0
        self.st.cpu_due, self.st.cpu_behind = FAR, 1234
        for edge in self.enter_and_leave():
            self.assertEqual(edge.value, edge.t - 1234)

    def test_stamps_do_not_fall(self):
        for due in (0, FAR):
            self.st.cpu_due, self.st.cpu_behind, self.st.cpu_last = due, 0, FAR + 5
            self.assertEqual([edge.value for edge in self.enter_and_leave()], [FAR + 5] * 2)

    def test_past_the_window_the_clock_is_read(self):
        self.st.cpu_due = self.st.cpu_behind = self.st.cpu_last = 0
        cpu = time.thread_time_ns()
        enter = self.enter_and_leave()[0]
        self.assertTrue(cpu <= enter.value <= time.thread_time_ns())
        # Both edges may be past it on a slow machine: the window begins with the last reading.
        st = self.st
        self.assertIn(st.cpu_due - CPU_WINDOW_NS, [edge.t for edge in self.edges()[-2:]])
        self.assertLessEqual(st.cpu_due - CPU_WINDOW_NS - st.cpu_behind, st.cpu_last)

    def test_a_wait_is_not_cpu_time(self):
        with self.recorded.layer("x"):
            select.select([], [], [], 0.05)
        enter, leave = self.edges()[-2:]
        self.assertGreater(leave.t - enter.t, 49_000_000)
        self.assertLess(leave.value - enter.value, 25_000_000)
        self.assertLessEqual(leave.value, time.thread_time_ns())

    def test_no_faster_than_time_and_right_in_the_end(self):
        begin = time.thread_time_ns()
        for number in range(3000):
            with self.recorded.layer("x"), self.recorded.layer("y"):
                sum(range(number % 400))  # edges on both sides of the window's end
        edges = self.edges()[2:]
        # A stamp's clock is read after its time and before the next one's: a collection may run between.
        times = [edge.t for edge in edges[1:]] + [time.monotonic_ns()]
        for before, after, read_by in zip(edges, edges[1:], times[1:]):
            self.assertLessEqual(before.value, after.value)
            self.assertLessEqual(after.value - before.value, read_by - before.t + SLACK_NS)
        self.assertLessEqual(begin, edges[0].value + CPU_WINDOW_NS)
        self.assertLessEqual(edges[-1].value, time.thread_time_ns() + SLACK_NS)

    @unittest.skipUnless(scope.SWITCHES_SHOW, "switches of a thread do not show here")
    def test_a_thread_that_stays_on_its_cpu_is_not_asked_again(self):
        self.st.io_due = FAR  # IO stamps come with a reading
        for _ in range(1000):
            self.enter_and_leave()
            due, behind = self.st.cpu_due, self.st.cpu_behind
            while time.monotonic_ns() < due:
                pass
            enter, leave = self.enter_and_leave()
            if self.st.cpu_due == due:  # else it was switched out, or that long ago
                break
        self.assertEqual(self.st.cpu_due, due)
        self.assertEqual(leave.value, max(leave.t - behind, enter.value))

    @unittest.skipUnless(scope.SWITCHES_SHOW, "switches of a thread do not show here")
    def test_however_short_a_wait_shows(self):
        self.st.io_due = FAR
        waited = 0
        for _ in range(200):
            with self.recorded.layer("x"):
                due, switches = self.st.cpu_due, self.own_switches()
                while time.monotonic_ns() < due:
                    pass
                time.sleep(0.000001)
                waits = self.own_switches() > switches  # it may be over before it began
            waited += waits
            self.assertTrue(self.st.cpu_due != due or not waits)
        self.assertGreater(waited, 100)

    def own_switches(self):
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    def test_a_scope_gets_what_the_thread_used_in_it(self):
        """Work and waits at random, shorter and longer than any window, beside the clock itself."""
        gc.disable()  # a whole collection takes as long as many of these scopes, between the two clocks
        self.addCleanup(gc.enable)
        rng, used, told = random.Random(1), 0, 0
        for _ in range(300):
            self.st.cpu_due = 0  # both begin with a reading
            cpu = time.thread_time_ns()
            with self.recorded.layer("x"):
                for _ in range(rng.randrange(4)):
                    if rng.random() < 0.5:
                        time.sleep(rng.random() * 0.0003)
                    end = time.monotonic_ns() + rng.randrange(300_000)
                    while time.monotonic_ns() < end:
                        pass
            used += time.thread_time_ns() - cpu
            enter, leave = self.edges()[-2:]
            told += leave.value - enter.value
        self.assertLess(told, used * 1.05 + SLACK_NS)
        self.assertGreater(told, used * 0.8 - SLACK_NS)

    def test_the_slow_path_stamps_the_same_way(self):
        self.st.cpu_last = FAR
        self.st.announce(self.st.top.node, 0)
        self.assertEqual(self.edges()[-1].value, FAR)
        self.assertEqual(self.enter_and_leave()[1].value, FAR)

    def test_a_child_begins_with_its_own_clock(self):
        self.st.cpu_due = self.st.cpu_last = FAR  # as it stands right after an edge
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with self.recorded.layer("x"):
                pass
            st = scope.state()
            ring, number = st.lane
            raw = bytes(ring.records(number)[3 * 32 : 4 * 32])
            os.write(writing, b"%d %d" % (Record(raw, 0, 0).value, time.thread_time_ns()))
            os._exit(0)
        os.waitpid(child, 0)
        first, last = os.read(reading, 100).split()
        os.close(reading)
        os.close(writing)
        self.assertTrue(0 < int(first) <= int(last) < FAR)

    def test_each_thread_has_its_own(self):
        self.st.cpu_due = self.st.cpu_last = FAR
        values = []

        def work():
            with self.recorded.layer("x"):
                pass
            values.append((scope.state().cpu_last, time.thread_time_ns()))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertLessEqual(values[0][0], values[0][1] + CPU_WINDOW_NS)
