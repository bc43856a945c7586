"""What a signal handler raises inside of enter or exit reaches the program, and no scope stays."""

import gc
import signal
import sys
import threading
import time
from unittest import mock

from lezea_monitor import scope
from lezea_monitor.lane import ThreadState

from .helpers import AgentTest


class InterruptTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.recorded = self.start()
        with self.recorded.layer("known"):
            pass

    def raise_at_next_record(self, error):
        st = scope.state()
        claim = st.claim

        def handler():
            st.claim = claim
            raise error

        st.claim = handler

    def check_nothing_stays(self):
        self.assertEqual(scope.current().path, "")
        with self.recorded.layer("known"):
            self.assertEqual(scope.current().path, "layer:known")
        self.assertEqual(self.mine()[-2:], [("layer:known", 1), ("", 0)])
        self.assertEqual(self.recorded.dropped, 0)

    def test_in_enter(self):
        for error in (KeyboardInterrupt, TimeoutError, RuntimeError):
            for name in ("known", "new " + error.__name__):  # the hot path and the slow one
                self.raise_at_next_record(error)
                with self.assertRaises(error):
                    with self.recorded.layer(name):
                        self.fail("not reached")
                self.check_nothing_stays()

    def test_in_exit(self):
        for error in (KeyboardInterrupt, TimeoutError, RuntimeError):
            with self.assertRaises(error):
                with self.recorded.layer("known"):
                    self.raise_at_next_record(error)
            self.check_nothing_stays()

    def test_before_the_exit_has_begun_to_count(self):
        class Interrupted:
            @property
            def top(self):
                scope._local.st = st
                raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            with self.recorded.layer("known"):
                st, scope._local.st = scope._local.st, Interrupted()
                scope._use(scope._local)
        self.check_nothing_stays()

    def test_out_of_order(self):
        outer, inner = self.recorded.layer("known"), self.recorded.layer("inner")
        outer.__enter__()
        inner.__enter__()
        self.raise_at_next_record(TimeoutError)
        with self.assertRaises(TimeoutError):
            outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        self.check_nothing_stays()

    def test_errors_of_ours_are_counted_and_not_raised(self):
        for error in (MemoryError, RecursionError):
            self.raise_at_next_record(error)
            with self.recorded.layer("known"):
                pass
        with mock.patch.object(scope, "_pack", None), self.recorded.layer("known"):
            pass
        self.assertEqual(scope.current().path, "")

    def test_a_record_anywhere_while_a_lane_is_taken(self):
        """At every bytecode of _take_lane in turn, as a signal handler may."""
        code = ThreadState._take_lane.__code__
        left = [0]  # bytecodes until the handler

        def trace(frame, event, argument):
            if frame.f_code is not code:
                return None
            frame.f_trace_opcodes = True
            left[0] -= event == "opcode"
            if left[0] == 0:
                left[0] = -1
                with self.recorded.layer("handler"):
                    pass
            return trace

        def first_record(number):
            left[0] = number
            sys.settrace(trace)
            with self.recorded.layer("known"):
                pass
            sys.settrace(None)

        ring = scope.state().lane[0]
        free = len(ring.free)
        for number in range(1, 1000):
            heads = sum(ring.heads[ring.head_index(lane)] for lane in range(ring.lanes))
            thread = threading.Thread(target=first_record, args=(number,))
            thread.start()
            thread.join()
            if left[0] > 0:
                break  # past its end
            self.agent.rings[0].records()  # checks that their numbers leave no gap
            now = sum(ring.heads[ring.head_index(lane)] for lane in range(ring.lanes))
            self.assertIn(now - heads, (6, 8), number)  # two of the switches, perhaps twice of IO
            self.assertEqual((len(ring.free), self.recorded.dropped), (free, 0), number)
        self.assertGreater(number, 50)

    def test_no_alarm_is_lost(self):
        rung = []

        def handler(number, frame):
            rung.append(number)
            raise TimeoutError

        def work(delay):
            end = time.monotonic() + 1
            signal.setitimer(signal.ITIMER_REAL, delay)
            while time.monotonic() < end:
                with self.recorded.layer("known"):
                    pass

        # What is raised while the collector calls back (a WeakSet of the standard library's) Python itself drops.
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        previous = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        for number in range(2000):
            with self.assertRaises(TimeoutError):
                work(0.0002 + number % 97 * 1e-6)
        self.assertEqual(len(rung), 2000)
