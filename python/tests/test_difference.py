"""The same program, in Python only and with the accelerator: the same records, whatever it does."""

import os
import subprocess

from .helpers import AgentTest, child_environment, python

PROGRAM = """
import asyncio, random, sys, threading
import lezea_monitor as lm
from lezea_monitor import scope

seed = int(sys.argv[1])
run = lm.start_run(run_id=sys.argv[2])
shared = [run.layer("shared %d" % number) for number in range(3)]

@run.layer("decorated")
def decorated(depth):
    if depth:
        decorated(depth - 1)

def generator():
    with run.network("generator"):
        yield

def play(choose, steps):
    entered, suspended = [], []
    for _ in range(steps):
        step = choose.randrange(10)
        if step < 4:
            name = choose.choice(["a", "b", "c", 7, 7.5, ("t", 1)])
            entered.append(choose.choice([run.layer, run.builder])(name).__enter__())
        elif step == 4:
            entered.append(choose.choice(shared).__enter__())
        elif step < 7 and entered:
            which = choose.choice([-1, -1, choose.randrange(len(entered))])
            entered.pop(which).__exit__(None, None, None)
        elif step == 7:
            decorated(choose.randrange(3))
        elif step == 8:
            suspended.append(generator())
            next(suspended[-1])
        elif suspended:
            suspended.pop(choose.randrange(len(suspended))).close()
    for one in reversed(suspended):
        one.close()
    for one in reversed(entered):
        one.__exit__(None, None, None)

async def task(choose):
    with run.tasker("task"):
        await asyncio.sleep(0)
        play(choose, 30)
        await asyncio.sleep(0)

async def tasks():
    await asyncio.gather(*[task(random.Random(seed + number)) for number in range(3)])

play(random.Random(seed), 300)
thread = threading.Thread(target=play, args=(random.Random(seed + 1), 100))
thread.start()
thread.join()
asyncio.run(tasks())
play(random.Random(seed + 2), 50)
assert scope.current().path == "", scope.current().path
run.usage()
print(run.dropped)  # entries past the limit on depth
"""


class DifferenceTest(AgentTest):
    def records(self, seed, pure):
        """What the agent gets, (lane, path, flags), and the drops; IO stamps go by time: not them."""
        rings = len(self.agent.rings)
        env = dict(child_environment(), LEZEA_MONITOR_PURE=pure)
        command = python(PROGRAM, str(seed), "r%d%s" % (seed, pure))
        done = subprocess.run(command, env=env, capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        ring = self.agent.rings[rings]
        switches = [record for record in ring.records() if record.kind == 0]
        self.assertGreater(len(switches), 500)
        paths = [(r.lane, self.agent.path_of(ring.session, r.scope), r.flags) for r in switches]
        return paths, int(done.stdout)

    def test_the_same_records(self):
        pure = os.environ.get("LEZEA_MONITOR_PURE")
        for seed in range(0, 12, 4):
            self.assertEqual(self.records(seed, "1"), self.records(seed, pure or ""))
