"""An agent that is there but has no room just now: a job starts all its processes at once."""

import logging
import socket
import time
from unittest import mock

import lezea_monitor as lm
from lezea_monitor import wire

from .helpers import AgentTest


class CrowdTest(AgentTest):
    def test_an_agent_with_too_many_connections(self):
        self.agent.full = 3
        run = self.start()
        self.assertTrue(run.active)
        self.assertEqual(self.agent.full, 0)
        run.end()
        self.agent.full = 1000
        with mock.patch("lezea_monitor.run.START_SECONDS", 0.3):
            with self.assertLogs("lezea_monitor", logging.WARNING):
                self.assertFalse(lm.start_run().active)

    def test_a_queue_that_is_full(self):
        path = self.agent.folder + "/full.sock"
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
            listener.bind(path)
            listener.listen(0)
            first.connect(path)
            with self.assertRaises(wire.Lost):
                wire.connect(path, socket.SOCK_STREAM, False, time.monotonic() + 1)
