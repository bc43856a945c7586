"""run.watch against torch.profiler, with a real agent: `npm run test:torch`.

torch is looked for in LEZEA_TORCH (a virtual environment), else in this Python; without it every
test is skipped. LEZEA_TORCH_LARGE=1 in the environment also trains the model of 365 M parameters
(minutes, 5 GB of memory).
"""

import json
import os
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "test", "truth"))

from harness.agent import Agent  # noqa: E402

FOLDER = os.environ.get("LEZEA_TORCH")
PYTHON = os.path.join(FOLDER, "bin", "python") if FOLDER else sys.executable
TORCH = subprocess.run([PYTHON, "-c", "import torch"], capture_output=True).returncode == 0
LEAST_SHARE = 0.95  # of the step's CPU, in layers
MOST_POINTS = 3.0  # that a layer's share of all layers may differ from the profiler's


@unittest.skipUnless(TORCH, "no torch: pip install torch into LEZEA_TORCH")
class WatchTruthTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.agent = Agent().start()

    @classmethod
    def tearDownClass(cls):
        cls.agent.stop()
        cls.agent.remove()

    def run_in(self, *command):
        env = {key: value for key, value in os.environ.items() if not key.startswith("LEZEA_")}
        env["PYTHONPATH"] = os.path.join(ROOT, "python")
        env["LEZEA_MONITOR_SOCKET"] = self.agent.socket
        done = subprocess.run(
            [PYTHON, "-W", "ignore", *command], env=env, capture_output=True, text=True, timeout=900
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def check(self, size, steps):
        said = self.run_in(os.path.join(HERE, "train.py"), size, str(steps))
        watched, profiled = said["watched"], said["profiled"]
        share = said["layer_seconds"] / said["whole_seconds"]
        expected = sum(profiled.values()) / (sum(profiled.values()) + said["outside_seconds"])
        ours, theirs = sum(watched.values()), sum(profiled.values())
        points = {
            name: 100 * (watched[name] / ours - profiled.get(name, 0) / theirs) for name in watched
        }
        worst = max(points, key=lambda name: abs(points[name]))
        print(
            "\n  %s: %d parameters, %d layers, %d steps, %.1f s CPU: %.1f %% in layers (profiler: %.1f %%); "
            "furthest from the profiler: %s, %.2f points" % (
                size, said["parameters"], len(watched), steps, said["whole_seconds"], 100 * share,
                100 * expected, worst, points[worst],
            )
        )  # fmt: skip
        if os.environ.get("LEZEA_TORCH_ALL"):
            for name in sorted(watched, key=watched.get, reverse=True):
                print("    %-28s %6.2f %% %+.2f" % (name, 100 * watched[name] / ours, points[name]))
        self.assertEqual(said["dropped"], 0)
        self.assertGreaterEqual(share, LEAST_SHARE)
        self.assertLessEqual(share, 1)
        self.assertAlmostEqual(100 * share, 100 * expected, delta=MOST_POINTS)
        seconds = said["process_seconds"]
        self.assertAlmostEqual(said["whole_seconds"], seconds, delta=0.05 * seconds)
        self.assertLessEqual(abs(points[worst]), MOST_POINTS)
        return said

    def test_a_transformer(self):
        said = self.check("small", 15)
        self.assertEqual(len(said["watched"]), 53)

    def test_two_processes_of_distributed_data_parallel(self):
        said = self.run_in(os.path.join(HERE, "distributed.py"))
        for rank in said:
            self.assertTrue(rank["same"], "watched and not, the weights differ")
            self.assertEqual(rank["dropped"], 0)
            self.assertGreater(rank["layers"]["module.2"], 0)
            self.assertGreater(rank["share"], 0.5)
            self.assertEqual(rank["scope_after"], "")

    @unittest.skipUnless(os.environ.get("LEZEA_TORCH_LARGE"), "LEZEA_TORCH_LARGE is not set: takes minutes and 5 GB")
    def test_a_transformer_of_365_million_parameters(self):
        said = self.check("365m", 3)
        self.assertAlmostEqual(said["parameters"], 365e6, delta=3e6)


if __name__ == "__main__":
    unittest.main()
