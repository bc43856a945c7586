"""Runs every example against a real agent, with the real packages where they are installed: `npm run test:examples`.

dvc and wandb are looked for in LEZEA_EXAMPLES (a virtual environment, default build/ci/examples),
mlflow in LEZEA_MLFLOW_3 (build/ci/mlflow-3). What is not there is skipped, and says so.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
EXAMPLES = os.path.join(ROOT, "examples")
sys.path.insert(0, os.path.join(ROOT, "test", "truth"))

from harness.agent import Agent  # noqa: E402

CI = os.path.join(ROOT, "build", "ci")
EXTRA = os.environ.get("LEZEA_EXAMPLES", os.path.join(CI, "examples"))
MLFLOW = os.environ.get("LEZEA_MLFLOW_3", os.path.join(CI, "mlflow-3"))
TIMEOUT_SECONDS = 120
HOUR = 3600
RATE = 36  # of a core hour


def program(folder, name):
    """A program of a virtual environment; None where it is not."""
    path = os.path.join(folder, "bin", name)
    return path if os.path.exists(path) else None


def has(folder, package):
    python = program(folder, "python")
    return bool(python) and subprocess.run([python, "-c", "import " + package], capture_output=True).returncode == 0


class ExamplesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.agent = Agent(["cost.cpu_per_core_hour=%d" % RATE]).start()

    @classmethod
    def tearDownClass(cls):
        cls.agent.stop()
        cls.agent.remove()

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="lezea-example-")
        self.addCleanup(shutil.rmtree, self.folder)

    def environment(self, *folders, **more):
        """Ours, with the command, and what is first in these folders, on the PATH."""
        known = {key: value for key, value in os.environ.items() if not key.startswith("LEZEA_")}
        path = [*folders, os.path.join(ROOT, "bin"), known["PATH"]]
        known.update(
            PATH=os.pathsep.join(path),
            PYTHONPATH=os.path.join(ROOT, "python"),
            LEZEA_MONITOR_SOCKET=self.agent.socket,
            HOME=self.folder,
            **more,
        )
        return known

    def run_in(self, command, environment, folder=None):
        done = subprocess.run(
            command, env=environment, cwd=folder or self.folder, capture_output=True, text=True,
            timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def example(self, name, *arguments, python=sys.executable, **more):
        command = [python, os.path.join(EXAMPLES, name), *arguments]
        return self.run_in(command, self.environment(**more))

    def near(self, expected, measured, share=0.1):
        self.assertAlmostEqual(measured, expected, delta=share * expected + 0.02)

    def test_lezea(self):
        said = json.loads(self.example("lezea.py"))
        tasker, builder = said["parts"]["tasker#0"], said["parts"]["builder#0"]
        self.assertEqual(sorted(tasker), ["cpu_h", "elapsed_s", "io_bytes", "mem_gb_h"])
        # Three times 0.1 s and 0.05 s, which both parts share.
        self.near(0.45, (tasker["cpu_h"] + builder["cpu_h"]) * HOUR, share=0.3)
        self.near(tasker["cpu_h"] * HOUR, builder["cpu_h"] * HOUR)
        paths = {path.rpartition("part:")[2]: figures for path, figures in said["scopes"].items()}
        (all_of_it,) = (f["cpu_seconds"] for p, f in paths.items() if p.endswith("/tasker:tasker#0"))
        (network,) = (f["cpu_seconds"] for p, f in paths.items() if p.endswith("network:org%2Fmodel"))
        self.near(0.45, all_of_it)
        self.near(0.15, network)

    def test_lezea_without_an_agent(self):
        environment = self.environment()
        environment["LEZEA_MONITOR_SOCKET"] = os.path.join(self.folder, "nobody.sock")
        said = json.loads(self.run_in([sys.executable, os.path.join(EXAMPLES, "lezea.py")], environment))
        self.assertEqual(list(said["parts"]["tasker#0"]), ["elapsed_s"])

    def kaslite(self):
        """A project folder of its own."""
        folder = os.path.join(self.folder, "project")
        shutil.copytree(os.path.join(EXAMPLES, "kaslite"), folder)
        return folder

    def check_phases(self, folder):
        with open(os.path.join(folder, "phases.json"), encoding="utf-8") as file:
            phases = {phase["name"]: phase["totals"]["cpu_seconds"] for phase in json.load(file)}
        self.near(0.1, phases["phase_1"], share=0.3)
        self.near(0.2, phases["phase_2"], share=0.3)

    @unittest.skipUnless(program(EXTRA, "dvc"), "no dvc: pip install dvc wandb into LEZEA_EXAMPLES")
    def test_kaslite_with_dvc(self):
        folder = self.kaslite()
        settings = os.path.join(self.folder, "settings")  # it would ask the network for a newer one
        os.makedirs(os.path.join(settings, "dvc"))
        with open(os.path.join(settings, "dvc", "config"), "w", encoding="ascii") as file:
            file.write("[core]\n    check_update = false\n    analytics = false\n")
        environment = self.environment(XDG_CONFIG_HOME=settings)
        dvc = program(EXTRA, "dvc")
        self.run_in([dvc, "init", "--no-scm", "-q"], environment, folder)
        self.run_in([dvc, "repro", "-q"], environment, folder)
        shown = json.loads(self.run_in([dvc, "metrics", "show", "--json"], environment, folder))
        (workspace,) = shown.values()
        figures = workspace["data"]["metrics.json"]["data"]
        with open(os.path.join(folder, "metrics.json"), encoding="utf-8") as file:
            self.assertEqual(figures, json.load(file))
        self.near(0.15, figures["seed:seed0/cpu_seconds"])
        self.near(0.15, figures["seed:seed1/cpu_seconds"])
        self.assertGreater(figures["total/cpu_seconds"], 0.3)
        self.check_phases(folder)
        again = self.run_in([dvc, "repro"], environment, folder)
        self.assertIn("didn't change", again)

    @unittest.skipUnless(has(MLFLOW, "mlflow"), "no mlflow: pip install 'mlflow==3.*' into LEZEA_MLFLOW_3")
    def test_kaslite_with_mlflow(self):
        folder = self.kaslite()
        uri = "sqlite:///" + os.path.join(folder, "mlflow.db")
        environment = self.environment(MLFLOW_TRACKING_URI=uri)
        python = program(MLFLOW, "python")
        self.run_in([python, "train.py"], environment, folder)
        self.check_phases(folder)
        code = "import json, mlflow; print(json.dumps(mlflow.search_runs(output_format='list')[0].data.metrics))"
        metrics = json.loads(self.run_in([python, "-c", code], environment, folder).splitlines()[-1])
        self.near(0.15, metrics["resources/seed/seed0/cpu_seconds"])

    @unittest.skipUnless(has(MLFLOW, "mlflow"), "no mlflow: pip install 'mlflow==3.*' into LEZEA_MLFLOW_3")
    def test_a_lezea_tracker_on_mlflow(self):
        uri = "sqlite:///" + os.path.join(self.folder, "mlflow.db")
        environment = self.environment(MLFLOW_TRACKING_URI=uri)
        command = [program(MLFLOW, "python"), os.path.join(HERE, "attached.py")]
        said = json.loads(self.run_in(command, environment).splitlines()[-1])
        metrics = said["metrics"]
        self.assertEqual(metrics["tasker.x3atasker.x230/loss"], 1.0)
        self.near(said["used"], metrics["resources/tasker/tasker.x230/cpu_seconds"])
        self.near(0.2, metrics["resources/network/org.x252Fmodel/layer/3/cpu_seconds"])
        self.assertGreater(metrics["resources/total/cpu_seconds"], 0.48)
        self.assertGreater(metrics["resources/tasker/tasker.x230/cpu_percent"], 5)
        self.assertEqual(said["schemas"], {
            "resources/summary.json": "lezea.resources/v1",
            "environment/full.json": "lezea.environment/v1",
            "business/cost_analysis_summary.json": "lezea.cost/v1",
        })  # fmt: skip
        self.assertEqual(said["status"], "FINISHED")

    def test_rldk(self):
        self.example("rldk.py", self.folder)
        with open(os.path.join(self.folder, "experiment.json"), encoding="utf-8") as file:
            experiment = json.load(file)
        self.assertRegex(experiment["environment"]["environment_checksum"], "^[0-9a-f]{64}$")
        self.assertIn("cpu", experiment["environment"]["hardware"])
        self.near(0.3, experiment["resources"]["phase:rollout/cpu_seconds"])
        with open(os.path.join(self.folder, "events.jsonl"), encoding="utf-8") as file:
            events = [json.loads(line) for line in file]
        rewards = [event["value"] for event in events if event["name"].endswith("reward_mean")]
        self.assertEqual(rewards, [0.5, 0.6, 0.7])

    def test_pixelis(self):
        said = json.loads(self.example("pixelis.py").splitlines()[-1])
        self.assertEqual(sorted(said["fit"]), ["errors", "is_valid", "warnings"])
        self.near(0.15, said["summary"]["lezea/stage:sft/cpu_seconds"])
        self.assertEqual(said["summary"]["lezea/status"], "FINISHED")

    @unittest.skipUnless(has(EXTRA, "wandb"), "no wandb: pip install dvc wandb into LEZEA_EXAMPLES")
    def test_pixelis_with_wandb(self):
        python = program(EXTRA, "python")
        said = json.loads(self.example("pixelis.py", python=python, WANDB_MODE="offline").splitlines()[-1])
        self.assertEqual(said["wandb"], said["summary"])
        self.near(0.15, said["wandb"]["lezea/stage:rft/cpu_seconds"])

    def test_spectramind(self):
        self.example("spectramind.py", self.folder)
        with open(os.path.join(self.folder, "leaderboard.csv"), encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        self.assertEqual([line["id"] for line in lines], ["no|dropout", "base"])
        for line, least in zip(lines, (0.2, 0.1)):
            cpu = float(line["cpu_s"])
            self.assertGreaterEqual(cpu, least - 0.02)
            self.assertLessEqual(cpu, float(line["wall_s"]) + 0.05)
            self.assertAlmostEqual(float(line["cost"]), cpu / HOUR * RATE, places=6)
        with open(os.path.join(self.folder, "leaderboard.md"), encoding="utf-8") as file:
            self.assertIn("| no\\|dropout |", file.read())
        with open(os.path.join(self.folder, "events.jsonl"), encoding="utf-8") as file:
            events = [json.loads(line)["event"] for line in file]
        self.assertEqual(events, ["start", "done"] * 2)
        for name in ("run_spec.json", "metrics.json", ".done"):
            self.assertTrue(os.path.exists(os.path.join(self.folder, "run_000_base", name)), name)

    def test_the_readme_names_every_example(self):
        with open(os.path.join(EXAMPLES, "README.md"), encoding="utf-8") as file:
            text = file.read()
        for name in os.listdir(EXAMPLES):
            if name not in ("README.md", "demo"):
                self.assertIn("examples/" + name, text)


if __name__ == "__main__":
    unittest.main()
