"""The other shapes: Pixelis, rldk, W&B and kaslite."""

import base64
import json
import os
import platform
import unittest

from lezea_monitor import compat, noop

from .fake_agent import error
from .helpers import AgentTest

INVENTORY = {
    "schema": "lezea.environment/v1",
    "hardware": {"cpu": {"model": "X"}},
    "software": {"kernel": "6"},
    "fingerprint": {"stable": "a" * 64, "volatile": "b" * 64},
}


class DocumentationTest(unittest.TestCase):
    def test_it_names_everything(self):
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(os.path.join(root, "docs", "compat.md"), encoding="utf-8") as file:
            text = file.read()
        for name in set(compat.__all__) - {"Attached"}:
            self.assertIn("`%s" % name, text)


class PixelisTest(AgentTest):
    def test_the_shape_is_theirs(self):
        found = compat.validate_environment()
        self.assertEqual(found, {"is_valid": True, "errors": [], "warnings": found["warnings"]})

    def test_what_is_missing_is_an_error(self):
        found = compat.validate_environment(["no-such-package-at-all"], 1e6, "99.1")
        self.assertFalse(found["is_valid"])
        said = "\n".join(found["errors"])
        for word in ("no-such-package-at-all", "GPU memory", "GPU free memory", "CUDA version"):
            self.assertIn(word, said)

    def test_a_requirement_that_is_none_is_an_error_and_no_exception(self):
        found = compat.validate_environment(["torch ~ nonsense"])
        self.assertEqual((found["is_valid"], len(found["errors"])), (False, 1))
        self.assertFalse(compat.validate_environment(min_cuda_version="new")["is_valid"])


class RldkTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.agent.replies["node.inventory"] = INVENTORY

    def test_their_keys_and_the_hardware(self):
        environment = compat.capture_environment()
        for key in ("timestamp", "python_version", "python_executable", "pip", "system",
                    "ml_frameworks", "environment_checksum"):  # fmt: skip
            self.assertIn(key, environment)
        self.assertEqual(environment["system"]["machine"], platform.machine())
        self.assertEqual(environment["hardware"], INVENTORY["hardware"])
        self.assertEqual(environment["fingerprint"], INVENTORY["fingerprint"])
        freeze = environment["pip"]["freeze"]
        self.assertEqual(freeze, sorted(freeze, key=str.lower))
        self.assertTrue(all("==" in line for line in freeze))
        json.dumps(environment)

    def test_the_checksum_is_of_what_lasts(self):
        first = compat.capture_environment()["environment_checksum"]
        self.assertRegex(first, "^[0-9a-f]{64}$")
        again = dict(INVENTORY, fingerprint={"stable": "a" * 64, "volatile": "c" * 64})
        self.agent.replies["node.inventory"] = again  # as after a reboot
        self.assertEqual(compat.capture_environment()["environment_checksum"], first)
        other = dict(INVENTORY, fingerprint={"stable": "d" * 64, "volatile": "b" * 64})
        self.agent.replies["node.inventory"] = other
        self.assertNotEqual(compat.capture_environment()["environment_checksum"], first)

    def test_without_an_agent_it_is_python_alone(self):
        self.agent.close()
        environment = compat.capture_environment()
        self.assertNotIn("hardware", environment)
        self.assertRegex(environment["environment_checksum"], "^[0-9a-f]{64}$")


class WandbTest(AgentTest):
    SUMMARY = {
        "run": {"id": "r", "status": "RUNNING"},
        "totals": {"cpu_seconds": {"value": 2.5}, "io_read_bytes": {"value": 7}},
        "scopes": [
            {"path": "tasker:t0", "self": {"cpu_seconds": 1.5}, "inclusive": {"cpu_seconds": 2.0}}
        ],
        "environment": {"fingerprint": "f"},
    }

    def test_a_flat_dict(self):
        raw = base64.b64encode(json.dumps(self.SUMMARY).encode()).decode()
        self.agent.replies["run.get"] = {"data": raw, "eof": True}
        run = self.start()
        wanted = {
            "lezea/run_id": "r",
            "lezea/status": "RUNNING",
            "lezea/total/cpu_seconds": 2.5,
            "lezea/total/io_read_bytes": 7,
            "lezea/tasker:t0/cpu_seconds": 1.5,
            "lezea/tasker:t0/inclusive/cpu_seconds": 2.0,
            "lezea/environment_fingerprint": "f",
        }
        self.assertEqual(compat.wandb_summary(run), wanted)
        run.end()
        self.assertEqual(compat.wandb_summary(run), wanted)  # over a connection of its own

    def test_what_nobody_knows_has_no_key(self):
        self.agent.replies["run.get"] = error("invalid_params", "no such document")
        self.assertEqual(compat.wandb_summary(self.start()), {})
        self.assertEqual(compat.wandb_summary(noop.NoRun()), {})


class KasliteTest(AgentTest):
    def test_transitions_are_phases_of_the_run(self):
        phases = [{"name": "phase_1", "started_at": "t", "totals": {"cpu_seconds": 1.0}}]
        self.agent.replies["run.get"] = {"phases": phases}
        run = self.start()
        recorder = compat.Phases(run)
        recorder.record_phase_transition("init", "phase_1")
        recorder.log_phase_transition(40, "phase_1", "phase_2")
        self.assertEqual(recorder.history(), phases)
        named = [call["name"] for call in self.agent.called("run.phase")]
        self.assertEqual(named, ["phase_1", "phase_2"])
        (event,) = self.agent.called("run.event")
        self.assertEqual(event["data"]["epoch"], 40)

    def test_without_an_agent(self):
        recorder = compat.Phases(noop.NoRun())
        recorder.record_phase_transition("init", "phase_1")
        self.assertEqual(recorder.history(), [])


if __name__ == "__main__":
    unittest.main()
