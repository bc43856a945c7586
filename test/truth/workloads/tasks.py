"""16 asyncio tasks, each in a scope of its own, that give way to each other inside it: RUN.

Says per task the CPU of its steps by the thread's clock, read inside the task and around all of
what the event loop does to run a step: how much of that is the task's is the client's affair.
"""

import asyncio
import sys
import time

from common import begin, burn, say

TASKS, STEPS = 16, 75


class Steps:
    """Puts a clock around every step of the event loop, and knows whose it was."""

    def __init__(self):
        self.inner, self.outer = [0] * TASKS, [0] * TASKS
        self.whose = None
        plain = asyncio.events.Handle._run

        def run(handle):
            self.whose = None
            begun = time.thread_time_ns()
            plain(handle)
            if self.whose is not None:
                self.outer[self.whose] += time.thread_time_ns() - begun

        asyncio.events.Handle._run = run

    def burn(self, i, cpu_ns):
        self.whose = i
        self.inner[i] += burn(cpu_ns)


async def body(run, i, steps):
    with run.scope("task", i):
        for step in range(STEPS):
            steps.burn(i, 1_000_000 + 250_000 * (i % 8))
            await asyncio.sleep(0.002 if (step + i) % 5 == 0 else 0)


async def all_tasks(run, steps):
    with run.scope("part", "loop"):
        await asyncio.gather(*[body(run, i, steps) for i in range(TASKS)])


def main():
    run = begin(sys.argv[1])
    steps = Steps()
    asyncio.run(all_tasks(run, steps))
    dropped = run.dropped
    run.end()
    used = [[inner / 1e9, outer / 1e9] for inner, outer in zip(steps.inner, steps.outer)]
    say(used=used, dropped=dropped)


main()
