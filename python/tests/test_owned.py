"""A program that closes descriptors which are not its own: theirs are left alone ever after."""

import os
import socket
import subprocess

from lezea_monitor.owned import Alarm, Owned

from .helpers import AgentTest, child_environment, python

# Takes every number of the client's for `make`, whose results `check` then finds untouched.
PROGRAM = """
import os, socket, sys, threading, time, lezea_monitor as lm
run = lm.start_run()
with run.layer("before"):
    pass
run.usage()
thread = run._link._thread
os.closerange(3, 1000)
{make}
for number in range(300):
    with run.layer(number):
        run.event("e")
run.usage()
assert thread.is_alive()
run.end()
{check}
"""
FILES = """
import tempfile
files = [tempfile.TemporaryFile("w+") for _ in range(20)]
"""
CHECK_FILES = """
for file in files:
    file.write("mine")
    file.seek(0)
    assert file.read() == "mine"
"""
SOCKETS = """
pairs = [socket.socketpair() for _ in range(10)]
"""
CHECK_SOCKETS = """
for pair in pairs:
    for one, other in (pair, pair[::-1]):
        one.send(b"mine")
        assert other.recv(4096) == b"mine"
"""


ENDS_AT_ONCE = """
import os, lezea_monitor as lm
run = lm.start_run()
os.closerange(3, 1000)
run.end()
"""


class StolenTest(AgentTest):
    def finish(self, make, check):
        return self.run_program(PROGRAM.format(make=make, check=check))

    def run_program(self, code):
        done = subprocess.run(
            python(code), env=child_environment(), timeout=60, stderr=subprocess.PIPE
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stderr.decode()

    def test_files_are_not_written_to_and_not_closed(self):
        stderr = self.finish(FILES, CHECK_FILES)
        self.assertEqual(stderr.count("scopes of this process are not recorded"), 1)
        self.assertEqual(stderr.count("\n"), 1, stderr)
        self.assertEqual(len(self.agent.rings), 1)  # nobody's file was offered as a ring
        self.assertEqual(self.agent.called("run.end")[0]["status"], "FINISHED")

    def test_sockets_are_not_written_to_and_not_closed(self):
        self.finish(SOCKETS, CHECK_SOCKETS)
        self.assertEqual(self.agent.called("run.end")[0]["status"], "FINISHED")

    def test_nothing_in_their_place(self):
        self.finish("", "")
        self.assertEqual(len(self.agent.called("run.end")), 1)

    def test_an_end_before_the_client_has_noticed(self):
        self.run_program(ENDS_AT_ONCE)
        self.assertEqual(self.agent.called("run.end")[0]["status"], "FINISHED")

    def test_a_forked_child_of_such_a_program(self):
        fork = """
pid = os.fork()
if pid == 0:
    with run.layer("child"):
        pass
    run.usage()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
        self.finish(SOCKETS + fork, CHECK_SOCKETS)
        self.assertEqual(len(self.agent.rings), 2)  # the child has one of its own


class OwnedTest(AgentTest):
    def test_a_number_with_another_file(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        owned = Owned(ours.fileno())
        self.assertEqual(owned.fd, ours.fileno())
        number = ours.detach()
        os.dup2(theirs.fileno(), number)
        self.addCleanup(os.close, number)
        self.assertEqual(owned.fd, -1)
        self.assertFalse(owned.close())
        os.fstat(number)

    def test_closed_once(self):
        owned = Owned(os.open(os.devnull, os.O_RDONLY))
        number = owned.fd
        self.assertTrue(owned.close())
        self.assertFalse(owned.close())
        self.assertRaises(OSError, os.fstat, number)

    def test_an_alarm_that_is_full_or_closed(self):
        alarm = Alarm()
        for _ in range(70000):
            alarm.ring()
        alarm.silence()
        os.close(alarm._write.fd)
        self.assertEqual(alarm.fd, -1)
        alarm.ring()
        alarm.close()
        alarm.silence()
        alarm.close()
