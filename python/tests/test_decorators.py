"""Scopes as decorators; `monitored`."""

import asyncio
import inspect

import lezea_monitor as lm

from .helpers import AgentTest

A, B = ("tasker:t", 1), ("", 0)


class DecoratorTest(AgentTest):
    def test_plain_and_recursive(self):
        run = self.start()

        @run.scoped("tasker", "t")
        def down(n):
            """Doc."""
            return n if n == 0 else down(n - 1)

        @run.tasker("t")
        def other():
            raise ValueError("kept")

        self.assertEqual((down(1), down.__name__, down.__doc__), (0, "down", "Doc."))
        nested = [A, ("tasker:t/tasker:t", 1), ("tasker:t", 0), B]
        self.assertEqual(self.mine(), nested)
        with self.assertRaisesRegex(ValueError, "kept"):
            other()
        self.assertEqual(self.mine(), nested + [A, B])

    def test_generator_is_in_its_scope_only_while_it_runs(self):
        run = self.start()

        @run.scoped("tasker", "t")
        def generator():
            received = yield 1
            try:
                yield received
            except KeyError:
                yield "caught"
            return "done"

        self.assertTrue(inspect.isgeneratorfunction(generator))
        steps = generator()
        self.assertEqual(self.mine(), [])
        self.assertEqual(next(steps), 1)
        self.assertEqual(self.mine(), [A, B])
        self.assertEqual(steps.send("x"), "x")
        self.assertEqual(steps.throw(KeyError("k")), "caught")
        with self.assertRaises(StopIteration) as stop:
            next(steps)
        self.assertEqual(stop.exception.value, "done")
        self.assertEqual(self.mine(), [A, B] * 4)
        steps = generator()
        next(steps)
        steps.close()
        self.assertEqual(self.mine(), [A, B] * 6)

    def test_coroutine_and_async_generator(self):
        run = self.start()
        closed = []

        @run.scoped("tasker", "t")
        async def coroutine():
            await asyncio.sleep(0)
            return 5

        @run.scoped("tasker", "t")
        async def generator():
            try:
                received = yield 1
                yield received
            finally:
                closed.append(True)

        async def main():
            self.assertEqual(await coroutine(), 5)
            steps = generator()
            self.assertEqual(await steps.asend(None), 1)
            self.assertEqual(await steps.asend("x"), "x")
            await steps.aclose()
            return [item async for item in generator()]

        self.assertTrue(inspect.iscoroutinefunction(coroutine))
        self.assertEqual(asyncio.run(main()), [1, None])
        self.assertEqual(closed, [True, True])
        self.assertEqual({path for path, _ in self.mine()}, {"tasker:t", ""})
        self.assertEqual(self.mine()[-1], B)

    def test_monitored(self):
        @lm.monitored(experiment="e", run_id="r")
        def work():
            with lm.start_run() as run, run.tasker("t"):
                return 1

        @lm.monitored(run_id="bad")
        def fails():
            raise ValueError("too big")

        @lm.monitored(run_id="async")
        async def later():
            await asyncio.sleep(0)
            raise KeyboardInterrupt

        self.assertEqual(work(), 1)
        with self.assertRaises(ValueError):
            fails()
        with self.assertRaises(KeyboardInterrupt):
            asyncio.run(later())
        ends = [(e["status"], e.get("reason")) for e in self.agent.called("run.end")]
        failed = ("FAILED", "ValueError: too big")
        self.assertEqual(ends[:2], [("FINISHED", None), failed])
        self.assertEqual(ends[2][0], "INTERRUPTED")
        self.assertEqual(self.mine(), [A, B])
