"""Further rings: with the agent before their first record, offered by the thread that made them."""

import os
import socket
import subprocess
import threading
import time
from unittest import mock

from lezea_monitor import scope, wire
from lezea_monitor.ring import RingPool

from .helpers import AgentTest, child_environment, python


class Crowd:
    """Threads that have entered a scope and stay in it."""

    def __init__(self, run):
        self._run = run
        self._leave = threading.Event()
        self._threads = []

    def add(self, count):
        for _ in range(count):
            entered = threading.Event()
            thread = threading.Thread(target=self._stay, args=(entered,))
            thread.start()
            self._threads.append(thread)
            entered.wait(10)

    def _stay(self, entered):
        with self._run.layer("x"):
            entered.set()
            self._leave.wait(60)

    def leave(self):
        self._leave.set()
        for thread in self._threads:
            thread.join()


class AheadTest(AgentTest):
    def crowd(self, run):
        crowd = Crowd(run)
        self.addCleanup(crowd.leave)
        return crowd

    def inodes(self):
        return {ring.inode for ring in self.agent.rings}

    def test_the_next_ring_is_offered_when_half_of_the_lanes_are_taken(self):
        run = self.start()
        crowd = self.crowd(run)
        crowd.add(31)
        self.assertEqual(len(run._pool.rings), 1)
        crowd.add(1)
        self.assertEqual(len(run._pool.rings), 2)
        self.agent.wait(lambda: len(self.agent.rings) == 2)
        self.assertEqual(self.agent.rings[1].records(), [])
        crowd.add(64)
        self.assertEqual(len(run._pool.rings), 3)
        self.agent.wait(lambda: len(self.inodes()) == 3)

    def test_the_thread_that_makes_it_offers_it(self):
        run = self.start()
        run.usage()
        with mock.patch.object(run._link, "wake"):  # the link's thread sleeps
            begin = time.monotonic()
            self.crowd(run).add(40)
            self.agent.wait(lambda: len(self.agent.rings) == 2)
        self.assertLess(time.monotonic() - begin, 0.9)  # its next look is after a second
        self.assertEqual(run.dropped, 0)

    def test_native_code_that_keeps_the_interpreter(self):
        code = """
import ctypes, threading, lezea_monitor as lm
run = lm.start_run()
pause = ctypes.PyDLL(None).pause
run.usage()  # the link's thread is asleep again
def stay(number):
    with run.layer("x"):
        if number == 70:
            pause()  # with the interpreter's lock, for ever
        threading.Event().wait()
for number in range(71):
    threading.Thread(target=stay, args=(number,), daemon=True).start()
"""
        child = subprocess.Popen(python(code), env=child_environment())
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.agent.wait(lambda: len(self.inodes()) == 2)

        def busy():
            return [ring for ring in self.agent.rings if ring.records()]

        self.agent.wait(lambda: len({ring.inode for ring in busy()}) == 2)

    def test_threads_that_come_and_go_make_no_rings(self):
        run = self.start()
        for _ in range(20):
            crowd = Crowd(run)
            crowd.add(20)
            crowd.leave()
        self.assertEqual(len(run._pool.rings), 1)

    def test_no_ring_that_the_agent_would_refuse(self):
        pool = RingPool(lambda: None, lanes=2, capacity=256)
        self.addCleanup(pool.close)
        for lanes in range(1, 33):
            pool.look_ahead(pool.take()[0])
            self.assertEqual(len(pool.rings), min(16, lanes // 2 + 1 + lanes % 2))
        self.assertEqual(len(pool.rings), 16)
        self.assertEqual((pool.take(), pool.refused_threads), (None, 1))

    def test_a_lock_that_is_taken_leaves_it_to_the_link(self):
        run = self.start()
        session = run._link._session
        with session.sending():
            self.crowd(run).add(32)
            self.assertEqual(len(self.agent.rings), 1)
        self.agent.wait(lambda: len(self.agent.rings) == 2)
        self.assertIs(run._link._session, session)

    def test_a_pool_that_is_locked_waits_for_nobody(self):
        run = self.start()
        held, done = threading.Event(), threading.Event()

        def hold():
            with run._pool._lock:
                held.set()
                done.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(10)
        crowd = self.crowd(run)
        crowd.add(60)
        self.assertEqual(len(run._pool.rings), 1)
        done.set()
        holder.join()
        crowd.add(1)
        self.agent.wait(lambda: len(self.agent.rings) == 2)

    def test_nobody_at_the_ring_socket(self):
        run = self.start()
        os.unlink(os.path.join(self.agent.folder, "ring.sock"))
        self.crowd(run).add(40)
        self.assertEqual(len(run._pool.rings), 2)
        self.agent.kill()
        self.agent.start()
        self.agent.wait(lambda: len(self.agent.rings) == 3)  # the first one twice
        self.assertEqual(len(self.inodes()), 2)
        self.assertEqual(run.dropped, 0)

    def test_a_dead_agent(self):
        run = self.start()
        self.agent.kill()
        self.crowd(run).add(70)
        self.agent.start()
        self.agent.wait(lambda: len(self.inodes()) == 2)
        self.assertEqual(len(run._pool.rings), 2)
        self.assertEqual(run.dropped, 0)

    def test_a_refusal_is_heard_and_its_connection_closed(self):
        run = self.start()
        sockets = len(wire._sockets)
        self.agent.replies["ring"] = {"refused": "too_many_rings"}
        warned = []
        run._link._warn = lambda kind, text, *values: warned.append(text % values)
        self.crowd(run).add(32)
        self.agent.wait(lambda: warned)
        self.assertIn("too_many_rings", warned[0])
        self.agent.wait(lambda: len(wire._sockets) == sockets)

    def test_a_session_that_has_ended_is_offered_nothing(self):
        run = self.start()
        session = run._link._session
        self.agent.kill()
        self.agent.wait(lambda: run._link._session is not session)
        self.agent.start()
        session._offered = 0
        with session.sending():
            with self.assertRaises(wire.Unavailable):
                session.offer_rings(run._pool)
        self.assertFalse(session._answers)

    def test_no_descriptor_left_for_the_offer(self):
        run = self.start()
        session = run._link._session
        with mock.patch("lezea_monitor.wire.socket.SocketType", side_effect=OSError(24, "full")):
            self.crowd(run).add(31)
            session.push_rings(run._pool)
        self.crowd(run).add(1)
        self.agent.wait(lambda: len(self.inodes()) == 2)
        self.assertEqual(run.dropped, 0)


class InterruptTest(AgentTest):
    """A signal handler that comes in while the main thread takes a lane or offers a ring."""

    def pool(self, run, on_ring):
        pool = RingPool(on_ring, lanes=2, capacity=256)
        run._pool, run._link._pool, run._recorder.pool = pool, pool, pool
        return pool

    def test_a_handler_that_records(self):
        run = self.start()
        again = []

        def interrupted():
            if not again:
                again.append(1)
                with run.layer("handler"):
                    pass
            run._offer()

        pool = self.pool(run, interrupted)
        with run.layer("x"):
            pass
        st = scope.state()
        self.assertEqual(sum(len(ring.free) for ring in pool.rings), 2 * len(pool.rings) - 1)
        self.assertIn(st.lane[0], pool.rings)
        self.assertEqual(run.dropped, 0)

    def test_a_handler_that_records_while_a_lane_is_taken(self):
        run = self.start()
        pool = self.pool(run, lambda: None)
        take = pool.take

        def interrupted():
            pool.take = take
            lane = take()
            with run.layer("handler"):
                pass
            return lane

        pool.take = interrupted
        with run.layer("x"):
            pass
        self.assertEqual(sum(len(ring.free) for ring in pool.rings), 2 * len(pool.rings) - 1)
        self.assertEqual(run.dropped, 0)

    def test_a_handler_that_raises(self):
        run = self.start()
        run.usage()
        session = run._link._session
        raising = [TimeoutError("the program's own")]

        def interrupted():
            if raising:
                with mock.patch.object(session, "offer_rings", side_effect=raising.pop()):
                    session.push_rings(pool)
            run._offer()

        pool = self.pool(run, interrupted)
        with self.assertRaises(TimeoutError):
            with run.layer("x"):
                self.fail("not reached")
        with run.layer("y"):
            pass
        self.agent.wait(lambda: len(self.agent.rings) >= 2)
        self.assertEqual(sum(len(ring.free) for ring in pool.rings), 2 * len(pool.rings) - 1)

    def test_a_handler_that_forks(self):
        code = """
import os, lezea_monitor as lm
from lezea_monitor import scope
run = lm.start_run()
pool = run._pool
offer = pool._on_ring
def interrupted():
    pool._on_ring = offer
    if os.fork() == 0:
        return  # from the handler, in the child
    offer()
    os.wait()
pool._on_ring, pool._told = interrupted, 0
parent = os.getpid()
with run.layer("x"):
    own = scope.state().lane[0] in run._pool.rings
assert own and (os.getpid() == parent or run._pool is not pool)
if os.getpid() != parent:
    run.usage()
    os._exit(0)
"""
        subprocess.run(python(code), check=True, env=child_environment(), timeout=60)
        self.assertEqual(len({ring.inode for ring in self.agent.rings}), 2)


class AnswerTest(AgentTest):
    def test_no_answer_in_time_is_a_lost_connection(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            wire._sockets[ours] = wire.Owned(ours.fileno())
            with self.assertRaises(wire.Lost):
                wire.hear_answer(ours, time.monotonic() + 0.05)
        self.assertEqual(ours.fileno(), -1)
