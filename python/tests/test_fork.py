"""fork, multiprocessing (fork, spawn, forkserver) and programs started by the training program."""

import multiprocessing
import os
import pickle
import subprocess
import threading
import time
import traceback

import lezea_monitor as lm

from .helpers import AgentTest, child_environment, python


def in_child(work):
    """Runs work() in a forked child; returns its pid and exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid, os.waitpid(pid, 0)[1]


def worker(run):
    """A multiprocessing target; under spawn the argument arrives as an attached run."""
    with run.tasker("worker"):
        pass


def failing_worker(run):
    worker(run)
    raise ValueError("bad batch")


class ForkTest(AgentTest):
    def test_child_has_its_own_session_and_ring(self):
        run = self.start(run_id="r")
        parent_ring = self.agent.rings[0]

        def work():
            with run.layer("y"):
                with run.layer("z"):
                    pass
            run.usage()  # the session is open and the ring is offered

        with run.builder("b"), run.tasker("t"):
            before = parent_ring.head(0)
            pid, status = in_child(work)
            self.assertEqual((status, parent_ring.head(0)), (0, before))
        session = self.agent.called("session.open")[1]
        self.assertEqual((session["pid"], session["tid"]), (pid, pid))
        self.assertEqual(session["birth_scope"], "builder:b/tasker:t")
        self.assertEqual(len(self.agent.called("run.start")), 1)
        self.assertNotEqual(self.agent.rings[1].inode, parent_ring.inode)
        t = "builder:b/tasker:t"
        expected = [(t + "/layer:y", 1), (t + "/layer:y/layer:z", 1), (t + "/layer:y", 0), (t, 0)]
        self.assertEqual(self.agent.switches(pid), expected)
        self.assertTrue(run.active)
        with run.layer("parent goes on"):
            pass
        self.assertEqual(self.mine()[-2:], [("layer:parent goes on", 1), ("", 0)])

    def test_child_that_records_nothing_opens_nothing(self):
        run = self.start()
        with run.layer("x"):
            pass
        link = run._link
        inode = str(self.agent.rings[0].inode)
        with open("/proc/self/maps") as maps:
            self.assertIn(inode, [line.split()[4] for line in maps])
        owned = [run._pool.rings[0].fd, link._session.channel.connection.fileno(), link._alarm.fd]
        owned.append(link._alarm._write.fd)

        def work():
            for fd in owned:
                self.assertRaises(OSError, os.fstat, fd)
            assert run._link._session is None and not run._link.started
            with open("/proc/self/maps") as maps:
                assert inode not in [line.split()[4] for line in maps]
            run.end()

        self.assertEqual(in_child(work)[1], 0)
        self.assertEqual(len(self.agent.called("session.open")), 1)
        self.assertEqual(self.agent.called("run.end"), [])
        self.assertTrue(run.usage() is not None and run.active)

    def test_fork_from_a_second_thread_and_threads_in_the_child(self):
        run = self.start()
        seen = []

        def child():
            def second():
                with run.layer("second"):
                    pass

            with run.layer("first"):
                thread = threading.Thread(target=second)
                thread.start()
                thread.join()
            run.usage()

        def fork():
            with run.network("n"):
                seen.append(in_child(child))

        with run.builder("main"):
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
        pid, status = seen[0]
        self.assertEqual(status, 0)
        self.assertEqual(self.agent.called("session.open")[1]["birth_scope"], "network:n")
        self.assertEqual(self.agent.switches(pid), [("network:n/layer:first", 1), ("network:n", 0)])
        paths = [path for path, _ in self.agent.switches()]
        self.assertIn("layer:second", paths)

    def test_grandchild(self):
        run = self.start()

        def grandchild():
            with run.layer("g"):
                pass
            run.usage()

        with run.builder("b"):
            in_child(lambda: self.assertEqual(in_child(grandchild)[1], 0))
        opened = self.agent.called("session.open")
        self.assertEqual([s.get("birth_scope") for s in opened], [None, "builder:b"])
        self.assertEqual(self.agent.switches(opened[1]["pid"])[0], ("builder:b/layer:g", 1))

    def test_leaving_the_with_block_in_the_child(self):
        code = """
import os, sys, lezea_monitor as lm
with lm.start_run(run_id="r") as run:
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert run.active
"""
        subprocess.run(python(code), check=True, env=child_environment(), timeout=60)
        self.assertEqual(len(self.agent.called("run.end")), 1)

    def test_fork_while_other_threads_record(self):
        run = self.start()
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                with run.layer("busy"):
                    run.event("x")

        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads:
            thread.start()

        def child():
            with run.layer("c"):
                run.event("from child")
            run.usage()

        try:
            statuses = [in_child(child)[1] for _ in range(10)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(statuses, [0] * 10)
        self.assertEqual(len(self.agent.called("session.open")), 11)

    def test_multiprocessing_fork(self):
        run = self.start(run_id="r")
        context = multiprocessing.get_context("fork")
        with run.builder("b"):
            for target, code in ((worker, 0), (failing_worker, 1)):
                process = context.Process(target=target, args=(run,))
                with quiet_stderr():
                    process.start()
                    process.join(30)
                self.assertEqual(process.exitcode, code)
        ends = [(e["status"], e.get("reason")) for e in self.agent.called("run.end")]
        self.assertEqual(ends, [("FINISHED", None), ("FAILED", "ValueError: bad batch")])
        self.assertEqual(self.agent.called("session.open")[2]["birth_scope"], "builder:b")
        self.assertTrue(run.active)

    def test_multiprocessing_spawn_and_forkserver(self):
        run = self.start(run_id="r")
        for method in ("spawn", "forkserver"):
            self.agent.calls.clear()
            process = multiprocessing.get_context(method).Process(target=worker, args=(run,))
            process.start()
            process.join(60)
            self.assertEqual(process.exitcode, 0)
            self.assertEqual(self.agent.called("run.start")[0]["run_id"], "r")
            opened = self.agent.called("session.open")[0]
            self.assertEqual(opened["pid"], process.pid)
            self.assertEqual(len(self.agent.called("run.end")), 1)
            self.assertEqual(self.agent.switches(process.pid), [("tasker:worker", 1), ("", 0)])

    def test_pickled_run_is_the_active_one_here(self):
        run = self.start()
        self.assertEqual(pickle.loads(pickle.dumps(run)).id, run.id)

    def test_program_started_by_exec_in_a_scope(self):
        run = self.start(run_id="r")
        code = "import lezea_monitor as lm\nwith lm.start_run() as r, r.layer('x'): pass"
        with run.builder("b"):
            subprocess.run(python(code), check=True, env=child_environment(), timeout=60)
        self.assertEqual(self.agent.called("run.end")[0]["status"], "FINISHED")
        self.assertTrue(run.active)

    def test_started_program_attaches_by_itself(self):
        run = self.start(run_id="r")
        code = "import lezea_monitor as lm; run = lm.start_run(); assert run.id == 'r', run.id"
        subprocess.run(python(code), check=True, env=child_environment(), timeout=60)
        self.assertEqual([s["run_id"] for s in self.agent.called("session.open")], ["r", "r"])
        self.assertTrue(run.active)

    def test_fork_inside_a_task(self):
        code = """
import asyncio, os, lezea_monitor as lm
run = lm.start_run()
async def main():
    with run.tasker("t"):
        pid = os.fork()
        if pid == 0:
            with run.layer("c"):
                pass
            run.usage()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        print(pid)
        await asyncio.sleep(0)
asyncio.run(main())
"""
        done = subprocess.run(
            python(code), check=True, env=child_environment(), timeout=60, stdout=subprocess.PIPE
        )
        pid = int(done.stdout)
        self.assertEqual(self.agent.called("session.open")[1]["birth_scope"], "tasker:t")
        expected = [("tasker:t/layer:c", 1), ("tasker:t", 0)]
        self.assertEqual(self.agent.switches(pid), expected)

    def test_first_record_in_a_child_does_not_wait(self):
        run = self.start()
        self.agent.delay = 0.5

        def work():
            begin = time.monotonic()
            with run.layer("x"):
                pass
            assert time.monotonic() - begin < 0.25

        self.assertEqual(in_child(work)[1], 0)
        self.agent.delay = 0.0

    def test_reports_alone_open_the_childs_session_too(self):
        run = self.start(run_id="r")

        def work():
            run.progress(steps=3)
            run.event("from child")
            run.usage()

        with run.builder("b"):
            self.assertEqual(in_child(work)[1], 0)
        self.assertEqual(self.agent.called("run.event")[0]["event"], "from child")
        progress = {"run_id": "r", "scope": "builder:b", "steps": 3}
        self.assertEqual(self.agent.called("run.progress"), [progress])
        self.assertEqual(self.agent.called("session.open")[1]["birth_scope"], "builder:b")

    def test_second_start_run_in_a_child_joins(self):
        run = self.start(run_id="r")

        def work():
            inner = lm.start_run()
            assert inner.id == "r"
            with inner.layer("x"):
                pass
            run.usage()

        self.assertEqual(in_child(work)[1], 0)


class quiet_stderr:
    """Hides the traceback that multiprocessing prints for a worker that is meant to fail."""

    def __enter__(self):
        self.saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *_):
        os.dup2(self.saved, 2)
        os.close(self.saved)
