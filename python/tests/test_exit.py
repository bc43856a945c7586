"""How programs end, as the agent hears it; the program's own behaviour stays as it is."""

import signal
import subprocess

from .helpers import AgentTest, child_environment, python

START = "import sys, os, signal, lezea_monitor as lm; run = lm.start_run(run_id='r')\n"


class ExitTest(AgentTest):
    def finish(self, code, returncode=0, start=START):
        """Runs a program; the status and reason that it reported, and its stderr."""
        self.agent.calls.clear()
        done = subprocess.run(
            python(start + code), env=child_environment(), timeout=60, stderr=subprocess.PIPE
        )
        self.assertEqual(done.returncode, returncode, done.stderr.decode())
        ends = self.agent.called("run.end")
        self.assertLessEqual(len(ends), 1)
        end = (ends[0]["status"], ends[0].get("reason")) if ends else None
        return end, done.stderr.decode()

    def test_plain_end(self):
        self.assertEqual(self.finish("pass")[0], ("FINISHED", None))

    def test_uncaught_exception(self):
        end, stderr = self.finish("raise ValueError('no loss')", 1)
        self.assertEqual(end, ("FAILED", "ValueError: no loss"))
        self.assertIn("ValueError: no loss", stderr)

    def test_previous_excepthook_is_called(self):
        hook = "import sys\nsys.excepthook = lambda *a: sys.stderr.write('theirs')\n"
        end, stderr = self.finish("raise ValueError('x')", 1, hook + START)
        self.assertEqual((end, stderr), (("FAILED", "ValueError: x"), "theirs"))

    def test_keyboard_interrupt(self):
        end, _ = self.finish("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT)
        self.assertEqual(end[0], "INTERRUPTED")

    def test_sigterm_kills_as_ever(self):
        end, _ = self.finish("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM)
        self.assertIsNone(end)  # the agent sees the signal
        code = "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
        self.finish(code)

    def test_exit_codes(self):
        self.assertEqual(self.finish("sys.exit(0)")[0], ("FINISHED", None))
        self.assertEqual(self.finish("sys.exit()")[0], ("FINISHED", None))
        self.assertEqual(self.finish("sys.exit(3)", 3)[0], ("FAILED", "exit status 3"))
        self.assertEqual(self.finish("sys.exit('why')", 1)[0], ("FAILED", "exit status 1"))
        thread = "import threading; t = threading.Thread(target=sys.exit, args=(3,)); t.start()"
        self.assertEqual(self.finish(thread)[0], ("FINISHED", None))

    def test_with_block(self):
        start = "import sys, lezea_monitor as lm\nwith lm.start_run() as run:\n    "
        end = self.finish("raise SystemExit(4)", 4, start)[0]
        self.assertEqual(end, ("FAILED", "exit status 4"))
        self.assertEqual(self.finish("pass", 0, start)[0], ("FINISHED", None))

    def test_hooks_are_put_back(self):
        code = "assert sys.excepthook is not sys.__excepthook__; e = sys.exit; run.end()\n"
        code += "assert sys.excepthook is sys.__excepthook__ and sys.exit is not e"
        self.finish(code)

    def test_workers_are_joined_before_the_end(self):
        code = """
import multiprocessing, time
def work():
    time.sleep(0.3)
    run.event("late")
    with run.layer("late"): pass
for order in (0,):
    multiprocessing.get_context("fork").Process(target=work).start()
"""
        both = "import multiprocessing, multiprocessing.util\n" + START
        for start in (START, both):
            self.agent.calls.clear()
            subprocess.run(
                python(start + code), check=True, env=child_environment(), timeout=60
            )
            order = [m for m, _ in self.agent.calls if m in ("run.event", "run.end")]
            self.assertEqual(order, ["run.event", "run.end", "run.end"])
