"""asyncio: every step announces its task's scope; nothing leaks from task to task."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import unittest

from lezea_monitor import scope, tasks

from .helpers import AgentTest, child_environment, python


class TaskTest(AgentTest):
    def names(self):
        return [path for path, _ in self.mine()]

    def test_interleaved_tasks_announce_each_step(self):
        run = self.start()

        async def work(name):
            with run.tasker(name):
                for _ in range(2):
                    await asyncio.sleep(0)

        async def main():
            await asyncio.gather(work("a"), work("b"))

        asyncio.run(main())
        a, b = "tasker:a", "tasker:b"
        # First steps, then two more each: into the task's scope and back to the loop's.
        self.assertEqual(self.names(), [a, "", b, "", a, "", b, "", a, "", b, ""])
        activations = [path for path, activation in self.mine() if activation]
        self.assertEqual(activations, [a, b])

    def test_no_leak_and_inheritance(self):
        run = self.start()
        places = {}

        async def note(name):
            await asyncio.sleep(0)
            places[name] = scope.current().path

        async def child():
            await note("child at first")
            with run.layer("own"):
                await note("child inside")
            await note("child after")

        async def bystander():
            for number in range(6):
                await note("bystander %d" % number)

        async def main():
            other = asyncio.ensure_future(bystander())
            with run.tasker("t"):
                task = asyncio.ensure_future(child())
                with run.layer("parent"):
                    await note("parent inside")
                await note("parent after")
            await note("parent outside")  # the child goes on in the scope it was made in
            await task
            await note("end")
            await other

        with run.builder("b"):
            asyncio.run(main())
        t = "builder:b/tasker:t"
        self.assertEqual(places["parent inside"], t + "/layer:parent")
        self.assertEqual(places["parent after"], t)
        self.assertEqual(places["parent outside"], "builder:b")
        self.assertEqual(places["child at first"], t)
        self.assertEqual(places["child inside"], t + "/layer:own")
        self.assertEqual(places["child after"], t)
        self.assertEqual(places["end"], "builder:b")
        bystander_places = {v for k, v in places.items() if k.startswith("bystander")}
        self.assertEqual(bystander_places, {"builder:b"})
        self.assertEqual(self.names()[-1], "")
        self.assertFalse(scope.state().in_task)

    def test_cpu_goes_to_the_task_that_used_it(self):
        run = self.start()
        used = {}
        gc.collect()  # what it costs depends on the tests before
        gc.disable()
        self.addCleanup(gc.enable)

        async def work(name, milliseconds):
            with run.tasker(name):
                for _ in range(5):
                    begin = time.thread_time_ns()
                    while time.thread_time_ns() - begin < milliseconds * 1e6:
                        pass
                    used[name] = used.get(name, 0) + time.thread_time_ns() - begin
                    await asyncio.sleep(0.001)

        async def main():
            # Long enough that the steps' own cost, some 100 us each, is a small part.
            await asyncio.gather(*(work("t%d" % n, 3 * (n + 4)) for n in range(5)))

        asyncio.run(main())
        ring = self.agent.rings[0]
        stamps = [r for r in ring.lane_records(0) if r.kind == 0]
        charged = {}
        for before, after in zip(stamps, stamps[1:]):
            path = self.agent.path_of(ring.session, before.scope)
            charged[path] = charged.get(path, 0) + after.value - before.value
        for name, nanoseconds in used.items():
            self.assertAlmostEqual(charged["tasker:" + name] / nanoseconds, 1, delta=0.05)

    def test_run_started_inside_a_coroutine(self):
        async def main():
            run = self.start()
            with run.tasker("a"):
                await asyncio.sleep(0)
                with run.layer("x"):
                    await asyncio.sleep(0)
            with run.tasker("b"):
                pass

        asyncio.run(main())
        a, x, b = "tasker:a", "tasker:a/layer:x", "tasker:b"
        self.assertEqual(self.names(), [a, "", a, x, "", x, a, "", b, ""])
        self.assertFalse(scope.state().in_task)

    def test_one_scope_object_shared_by_tasks(self):
        run = self.start()
        shared = run.layer("x")

        async def work():
            with shared:
                await asyncio.sleep(0)
                self.assertEqual(scope.current().path, "layer:x")
            self.assertEqual(scope.current().path, "")

        async def main():
            await asyncio.gather(work(), work(), work())

        asyncio.run(main())
        self.assertEqual(self.names()[-1], "")

    def test_async_generator_closed_by_the_loop(self):
        run = self.start()

        async def generator():
            with run.layer("g"):
                yield 1
                yield 2

        async def main():
            steps = generator()
            self.assertEqual(await steps.asend(None), 1)
            with run.tasker("t"):
                await asyncio.ensure_future(self.close(steps))
                self.assertEqual(scope.current().path, "layer:g/tasker:t")
            self.assertEqual(scope.current().path, "")

        asyncio.run(main())
        self.assertEqual(self.names()[-1], "")

    @staticmethod
    async def close(steps):
        await steps.aclose()

    def test_hook_is_put_back(self):
        original = asyncio.events.Handle._run
        run = self.start()
        self.assertIsNot(asyncio.events.Handle._run, original)
        run.end()
        self.assertIs(asyncio.events.Handle._run, original)

    def test_hook_below_somebody_elses(self):
        original = asyncio.events.Handle._run
        self.addCleanup(setattr, asyncio.events.Handle, "_run", original)
        run = self.start()
        ours = asyncio.events.Handle._run

        def theirs(handle):
            return ours(handle)

        asyncio.events.Handle._run = theirs
        run.end()
        self.assertIs(asyncio.events.Handle._run, theirs)
        self.assertIsNone(asyncio.run(asyncio.sleep(0)))

    def test_loops_in_two_threads(self):
        run = self.start()
        tids = []

        async def main(name):
            tids.append(threading.get_native_id())
            for _ in range(20):
                with run.tasker(name):
                    await asyncio.sleep(0)

        threads = [threading.Thread(target=asyncio.run, args=(main(n),)) for n in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for tid in tids:
            paths = {path for path, _ in self.agent.switches(tid)}
            self.assertEqual(len(paths), 2)

    def test_asyncio_imported_after_the_start(self):
        code = """
import sys, lezea_monitor as lm
run = lm.start_run()
assert "asyncio" not in sys.modules
import asyncio
loader = type(asyncio.events.__spec__.loader).__name__
assert loader == "SourceFileLoader", loader
async def work():
    with run.tasker("t"):
        await asyncio.sleep(0)
asyncio.run(work())
run.end()
assert not any("lezea" in type(f).__module__ for f in sys.meta_path)
"""
        subprocess.run(python(code), check=True, env=child_environment(), timeout=60)
        paths = [path for path, _ in self.agent.switches()]
        self.assertEqual(paths, ["tasker:t", "", "tasker:t", ""])

    @unittest.skipIf(sys.version_info < (3, 12), "eager tasks came with 3.12")
    def test_eager_tasks_nest_rightly(self):
        run = self.start()

        async def child():
            with run.layer("c"):
                await asyncio.sleep(0)
                self.assertEqual(scope.current().path, "tasker:t/layer:c")

        async def main():
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            with run.tasker("t"):
                task = asyncio.create_task(child())
                with run.layer("p"):
                    self.assertEqual(scope.current().path, "tasker:t/layer:p")
                await task
            self.assertEqual(scope.current().path, "")

        asyncio.run(main())
        self.assertEqual(self.names()[-1], "")

    def test_position_outside_of_any_loop(self):
        run = self.start()
        with run.layer("x"):
            self.assertIs(tasks.position(scope.state()), scope.state().top)
