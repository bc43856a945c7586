"""A scope's definition goes out from the thread that made it, else through the queue, in order."""

import signal
import socket
import subprocess
import threading
import time
from unittest import mock

from lezea_monitor.session import PUSH_MAX

from .helpers import AgentTest, child_environment, python


class DefinitionTest(AgentTest):
    def defined(self):
        calls = self.agent.called("scope.define")
        return [scope["name"] for call in calls for scope in call["scopes"]]

    def test_native_code_that_keeps_the_interpreter(self):
        code = """
import ctypes, lezea_monitor as lm
run = lm.start_run()
pause = ctypes.PyDLL(None).pause
run.usage()  # the link's thread is asleep again
with run.builder("b"), run.layer("native"):
    pause()  # with the interpreter's lock, for ever
"""
        # The link's thread may have the connection right then, and leaves it to nobody once this one keeps
        # the lock: then the definition waits in the queue, and another child shows what is meant.
        for last in (False, False, False, True):
            child = subprocess.Popen(python(code), env=child_environment())
            self.addCleanup(child.wait)
            self.addCleanup(child.kill)
            before = len(self.defined())
            try:
                self.agent.wait(lambda: self.defined()[before:] == ["b", "native"], timeout=5.0)
                break
            except AssertionError:
                if last:
                    raise
        self.agent.wait(lambda: self.last_path() == "builder:b/layer:native")

    def last_path(self):
        """Where the newest ring's client was last."""
        ring = self.agent.rings[-1]
        switches = [record for record in ring.records() if record.kind == 0]
        return self.agent.path_of(ring.session, switches[-1].scope) if switches else None

    def test_the_definition_is_sent_before_the_first_record(self):
        run = self.start()
        run.usage()
        with mock.patch.object(run._link, "wake") as wake:
            with run.layer("x"):
                pass
            self.agent.wait(lambda: self.defined() == ["x"])
        wake.assert_not_called()

    def test_a_lock_that_is_taken_leaves_it_to_the_queue(self):
        run = self.start()
        session = run._link._session
        with session.sending():
            with run.builder("b"), run.layer("x"):
                pass
            self.assertEqual(self.defined(), [])
        self.agent.wait(lambda: self.defined() == ["b", "x"])
        self.assertIs(run._link._session, session)

    def test_a_backlog_is_left_to_the_queue(self):
        run = self.start()
        session = run._link._session
        with session.sending():
            for number in range(PUSH_MAX + 1):
                with run.layer(number):
                    pass
            self.assertFalse(session.push(run._tree))
        self.agent.wait(lambda: len(self.defined()) == PUSH_MAX + 1)

    def test_a_full_socket_keeps_the_order(self):
        run = self.start()
        session = run._link._session
        session.channel.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.agent.stalled.set()
        run.event("wakes the reader")
        longest = 0.0
        for number in range(500):
            begin = time.monotonic()
            with run.tasker(number), run.layer("long name " * 12):
                pass
            longest = max(longest, time.monotonic() - begin)
        self.assertLess(longest, 0.5)
        self.assertLess(len(self.defined()), 1000)
        self.agent.stalled.clear()
        self.agent.wait(lambda: len(self.defined()) == 1000)  # which checks parents and lines
        self.assertIs(run._link._session, session)
        self.assertEqual(run.dropped, 0)

    def test_many_threads(self):
        run = self.start()

        def work(first):
            for number in range(first, first + 200):
                with run.tasker(number), run.layer("x"):
                    run.event("e")

        threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.agent.wait(lambda: len(self.agent.called("run.event")) == 8 * 200)
        self.agent.wait(lambda: len(self.defined()) == 8 * 400)
        self.assertEqual(run.dropped, 0)

    def test_a_dead_agent(self):
        run = self.start()
        self.agent.kill()
        with run.layer("x"):
            pass
        self.agent.start()
        self.agent.wait(lambda: self.defined() == ["x"])
        self.assertEqual(run.dropped, 0)


class InterruptTest(AgentTest):
    """Signal handlers run in the main thread only, between any two bytecodes of a `push`."""

    def alarm(self, handler):
        previous = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)

    def test_handlers_that_make_scopes(self):
        run = self.start()
        names = iter(range(10**6))

        def handler(number, frame):
            with run.scope("signal", next(names)):
                pass

        self.alarm(handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        for number in range(2000):
            if not any(signal.getitimer(signal.ITIMER_REAL)):  # one at a time: this loop goes on
                signal.setitimer(signal.ITIMER_REAL, 0.0003)
            with run.layer(number):
                pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertGreater(next(names), 10)
        run.usage()
        self.assertEqual(len(self.agent.scopes), 1)  # one connection did for all
        definitions = next(iter(self.agent.scopes.values()))
        self.assertEqual(set(definitions), {node.id for node in run._tree.nodes})
        self.assertEqual(run.dropped, 0)

    def test_an_interrupt_while_a_line_is_sent(self):
        run = self.start()
        with run.layer("known"):
            pass
        session = run._link._session
        channel = session.channel
        flush = channel.flush

        def interrupted():
            if threading.current_thread() is not threading.main_thread():
                return flush()
            channel.flush = flush
            channel.connection.send(bytes(channel.unsent[:20]))  # and nobody notes that
            raise KeyboardInterrupt

        channel.flush = interrupted
        with self.assertRaises(KeyboardInterrupt):
            for number in range(1000):
                with session._lock:  # the link's thread is not at it, as a rule
                    pass
                with run.layer("new %d" % number):
                    pass
        self.agent.wait(lambda: len(self.agent.scopes) == 2)  # half a line is never continued
        with run.layer("after"):
            pass
        nodes = run._tree.nodes
        self.agent.wait(lambda: len(list(self.agent.scopes.values())[1]) == len(nodes))
        self.assertEqual(self.mine()[-2:], [("layer:after", 1), ("", 0)])

    def test_a_handler_that_ends_the_run(self):
        run = self.start()
        run._link._session._lock.acquire()  # by the frame below the handler's
        with mock.patch("lezea_monitor.session.SENDING_TRY_SECONDS", 0.001):
            run.end("INTERRUPTED", "preempted")
        self.assertEqual(self.agent.called("run.end")[0]["reason"], "preempted")

    def test_an_interrupt_that_keeps_the_lock(self):
        run = self.start()
        session = run._link._session
        session._lock.acquire()  # between the call that takes it and the `try`
        with mock.patch("lezea_monitor.session.SENDING_TRY_SECONDS", 0.001):
            with run.layer("x"):
                pass
            self.agent.wait(lambda: len(self.agent.scopes) == 2)
        self.agent.wait(lambda: len(list(self.agent.scopes.values())[1]) == 1)
        self.assertEqual(session.channel.connection.fileno(), -1)
        self.assertIsNot(run._link._session, session)
