"""What most tests need: a fake agent, a run that ends with the test, this thread's switches."""

import logging
import os
import sys
import threading
import unittest

import lezea_monitor as lm
from lezea_monitor import noop

from .fake_agent import FakeAgent


class AgentTest(unittest.TestCase):
    """A test with a fake agent, found through LEZEA_MONITOR_SOCKET."""

    def setUp(self):
        self.agent = FakeAgent()
        self.addCleanup(self.agent.close)
        self.set_environment("LEZEA_MONITOR_SOCKET", self.agent.path)
        self.set_environment("LEZEA_RUN_ID", None)
        self.set_environment("LEZEA_MONITOR_CAPTURE_LEVEL", "none")  # test_capture has its own
        noop._warned.clear()
        logging.getLogger("lezea_monitor").setLevel(logging.CRITICAL)

    def set_environment(self, name, value):
        previous = os.environ.get(name)

        def restore():
            if previous is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = previous

        self.addCleanup(restore)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    def start(self, *args, **kwargs):
        run = lm.start_run(*args, **kwargs)
        self.addCleanup(run.end)
        return run

    def mine(self):
        """This thread's switch records as (path, is an activation)."""
        return self.agent.switches(threading.get_native_id())


def child_environment():
    """The environment for a Python subprocess that imports this package."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return dict(os.environ, PYTHONPATH=root + os.pathsep + os.environ.get("PYTHONPATH", ""))


def python(code, *args):
    """The command line of a Python child."""
    return [sys.executable, "-c", code, *args]
