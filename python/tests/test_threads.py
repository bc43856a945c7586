"""Threads: lanes and their reuse, many threads, scopes that end elsewhere, signals."""

import gc
import os
import signal
import threading
import time

from lezea_monitor import layout, scope
from lezea_monitor.ring import Ring, RingPool

from .helpers import AgentTest


def in_threads(count, work):
    """Runs work(number) in `count` threads that are all alive at once; raises what they raise."""
    errors = []
    barrier = threading.Barrier(count)

    def body(number):
        try:
            barrier.wait(30)
            work(number)
            barrier.wait(30)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class RingTest(AgentTest):
    def test_size_and_header(self):
        ring = Ring(lanes=3, capacity=256)
        self.addCleanup(ring.close)
        self.assertEqual(os.fstat(ring.fd).st_size, 8192 + 3 * 256 * 32)
        header = os.pread(ring.fd, 4096, 0)
        words = [1, 0, 0, 0, 32, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0]
        expected = b"LZSCOPE1" + bytes(words)
        self.assertEqual(header, expected.ljust(4096, b"\0"))
        with self.assertRaises(OSError):
            os.ftruncate(ring.fd, 4096)
        self.assertEqual(layout.file_size(64, 16384), 8192 + 64 * 16384 * 32)

    def test_default_ring_is_sparse(self):
        run = self.start()
        with run.layer("x"):
            pass
        status = os.fstat(self.agent.rings[0].fd)
        self.assertLess(status.st_blocks * 512, 64 * 1024)

    def test_wrapping_keeps_the_newest(self):
        run = self.start()
        small = RingPool(lambda: None, lanes=1, capacity=256)
        run._pool, run._link._pool, run._recorder.pool = small, small, small
        for _ in range(300):
            with run.layer("x"):
                pass
        ring = small.rings[0]
        self.assertGreaterEqual(ring.heads[ring.head_index(0)], 600)
        from .fake_agent import OfferedRing

        records = OfferedRing(os.dup(ring.fd), "").lane_records(0)
        self.assertEqual(len(records), 256)
        self.assertEqual([r.scope for r in records if r.kind == 0][-1], 0)


class ThreadTest(AgentTest):
    def test_a_new_thread_begins_at_the_root(self):
        run = self.start()
        seen = []

        def work(_):
            with run.network("n"):
                seen.append(threading.get_native_id())

        with run.builder("b"):
            in_threads(2, work)
        for tid in seen:
            self.assertEqual(self.agent.switches(tid), [("network:n", 1), ("", 0)])
        lanes = {r.lane for r in self.agent.rings[0].records()}
        self.assertEqual(len(lanes), 3)

    def test_lanes_are_given_back_and_go_on_counting(self):
        run = self.start()
        tids = []

        def work(_):
            tids.append(threading.get_native_id())
            with run.layer("x"):
                pass

        for _ in range(200):
            in_threads(1, work)
        gc.collect()
        ring = self.agent.rings[0]
        self.assertEqual(len(self.agent.rings), 1)
        used = [lane for lane in range(ring.lanes) if ring.head(lane)]
        self.assertLessEqual(len(used), 2)
        records = [r for r in ring.lane_records(used[0]) if r.kind == 0]
        self.assertEqual([r.tid for r in records], [tid for tid in tids for _ in range(2)])

    def test_250_threads_and_more_rings(self):
        run = self.start()

        def work(number):
            for _ in range(20):
                with run.tasker(number), run.layer("x"):
                    pass

        in_threads(250, work)
        self.agent.wait(lambda: len(self.agent.rings) == 5)  # the last one for threads to come
        self.assertEqual(run.dropped, 0)
        switches = [r for ring in self.agent.rings for r in ring.records() if r.kind == 0]
        self.assertEqual(len(switches), 250 * 20 * 4)
        per_scope = {}
        for path, activation in self.agent.switches():
            per_scope[path] = per_scope.get(path, 0) + activation
        self.assertEqual(per_scope.pop(""), 0)
        self.assertEqual(set(per_scope.values()), {20})
        self.assertEqual(len(per_scope), 500)

    def test_too_many_threads_are_counted_not_harmed(self):
        run = self.start()
        pool = RingPool(lambda: None, lanes=1, capacity=256)
        pool._grow = lambda: False  # no memory for another ring
        run._pool, run._recorder.pool = pool, pool

        def work(_):
            with run.layer("x"):
                pass

        in_threads(2, work)
        self.assertEqual(run.dropped, 2)
        self.assertEqual(self.agent.rings[0].records(), [])

    def test_one_scope_one_id_whoever_is_first(self):
        run = self.start()
        in_threads(16, lambda _: [run.layer(n).__enter__() for n in ("a", "b", "c")])
        run.usage()
        scopes = next(iter(self.agent.scopes.values())).values()
        self.assertEqual(len({(s["parent"], s["name"]) for s in scopes}), 3)
        self.assertEqual(len(scopes), 3)

    def test_a_generator_ended_by_another_thread(self):
        run = self.start()

        def generator():
            with run.layer("g"):
                yield

        steps = generator()
        next(steps)
        other = []

        def work(_):
            with run.network("n"):
                steps.close()
                other.append(threading.get_native_id())

        in_threads(1, work)
        self.assertEqual(self.agent.switches(other[0])[-1], ("", 0))
        with run.layer("next"):  # not below the scope that is over
            pass
        self.assertEqual(self.mine(), [("layer:g", 1), ("layer:next", 1), ("", 0)])
        time.sleep(0.011)  # the next IO stamp also clears the list
        with run.layer("next"):
            pass
        self.assertIsNone(scope.state().top.outer)

    def test_a_generator_ended_out_of_order(self):
        run = self.start()

        def generator():
            with run.layer("g"):
                yield

        steps = generator()
        next(steps)
        with run.layer("g"):  # the same name, another activation
            steps.close()
            self.assertEqual(self.mine()[-1], ("layer:g/layer:g", 0))
            with run.layer("in"):
                pass
        self.assertEqual(self.mine()[-1], ("", 0))

    def test_a_signal_in_the_middle(self):
        run = self.start()
        hits = []

        def handler(number, frame):
            hits.append(number)
            with run.scope("signal", "handler"):
                pass

        previous = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        deadline = time.monotonic() + 1
        count = 0
        while time.monotonic() < deadline and count < 3000:
            count += 1
            with run.layer("x"), run.layer(count % 50):
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertGreater(len(hits), 10)
        ring = self.agent.rings[0]
        lane = scope.state().lane[1]  # a handler that came in while it was taken has one of its own
        claimed = [r for r in ring.lane_records(lane) if r.kind == 0]  # checks every seq
        self.assertEqual(run.dropped, 0)
        self.assertEqual(len(claimed), 4 * count + 2 * len(hits))
        self.assertEqual(claimed[-1].scope, 0)
        self.assertEqual(ring.head(lane), len(ring.lane_records(lane)))
        for path, _ in self.mine():
            self.assertNotIn("signal:handler/layer", path)

    def test_an_interrupt_inside_enter_leaves_no_scope_behind(self):
        run = self.start()
        with run.layer("x"):
            pass
        st = scope.state()
        claim = st.claim

        def interrupted():
            st.claim = claim
            raise KeyboardInterrupt

        st.claim = interrupted
        with self.assertRaises(KeyboardInterrupt):
            with run.layer("x"):
                self.fail("not reached")
        with run.layer("y"):
            pass
        self.assertEqual(self.mine()[-2:], [("layer:y", 1), ("", 0)])
