"""`preflight`: requirements against what there is, from an agent and without one; versions."""

import importlib
import os
import sys
import tempfile
import types
import unittest
from unittest import mock

import lezea_monitor as lm
from lezea_monitor import gpu_memory, installed, node_facts, versions

from .fake_agent import error
from .helpers import AgentTest

GPUS = [{"uuid": "GPU-aa1", "model": "H100", "vbios": "96"}, {"uuid": "GPU-ab2", "model": "H100"}]
INVENTORY = {"hardware": {"gpus": GPUS}, "software": {"nvidia_driver": "550.54.15"}}


class VersionsTest(unittest.TestCase):
    def test_numbers_not_letters(self):
        older = [
            ("9.2", "12.1"), ("550.54.9", "550.54.15"), ("2.0rc1", "2.0"), ("2.0.dev3", "2.0"), ("unknown", "0"),
            ("12.0", "12.0.1"), ("2.0rc1", "2.0.0"),
        ]  # fmt: skip
        for one, other in older:
            self.assertTrue(versions.is_older(one, other), (one, other))
            self.assertFalse(versions.is_older(other, one), (other, one))
        for one, other in [
            ("12", "12.0.0"),
            ("v2.1", "2.1"),
            ("2.0+cu121", "2.0"),
            ("2.0.post1", "2.0"),
        ]:
            self.assertFalse(
                versions.is_older(one, other) or versions.is_older(other, one), (one, other)
            )


class PreflightTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.set_environment("CUDA_VISIBLE_DEVICES", None)
        self.agent.replies["node.inventory"] = INVENTORY

    def test_fine(self):
        found = lm.preflight(["pip"], min_gpus=2, min_driver_version="550.54", min_disk_free_gb=0)
        self.assertEqual((found["is_valid"], found["errors"], found["warnings"]), (True, [], []))
        self.assertEqual(list(found), ["is_valid", "errors", "warnings", "facts"])
        facts = found["facts"]
        self.assertEqual(facts["gpus"][0], {"uuid": "GPU-aa1", "model": "H100"})
        self.assertEqual(facts["driver_version"], "550.54.15")
        self.assertEqual(facts["python"]["executable"], sys.executable)
        self.assertRegex(facts["packages"]["pip"], r"^\d")
        self.assertGreater(facts["disk_free_bytes"], 0)
        self.assertTrue(lm.preflight()["is_valid"])

    def test_memory_of_gpus_is_what_nvidia_smi_says_now(self):
        say = "echo 'GPU-aa1, 81559, 70000'; echo 'GPU-zz9, 1, 1'; echo 'GPU-ab2, [N/A], 80000'"
        found = self.preflight_with(say + "; echo noise >&2", min_free_gpu_memory_gb=80)
        self.assertEqual(
            found["errors"], ["GPU 0 (H100), free memory: 73.4 GB, expected at least 80 GB"]
        )
        mib = 1024 * 1024
        self.assertEqual(
            [gpu.get("memory_total_bytes") for gpu in found["facts"]["gpus"]], [81559 * mib, None]
        )
        self.assertTrue(self.preflight_with(say, min_free_gpu_memory_gb=70)["is_valid"])

    def test_nvidia_smi_that_fails_is_a_warning_and_memory_is_not_known(self):
        found = self.preflight_with("echo 'no driver'; exit 9", min_gpu_memory_gb=1)
        self.assertEqual(len(found["warnings"]), 1)
        self.assertRegex(found["warnings"][0], r"/nvidia-smi: no driver \(exit status 9\)$")
        self.assertEqual(len(found["errors"]), 2)
        self.assertIn("not known", found["errors"][0])

    def test_nvidia_smi_that_hangs_is_killed_and_not_waited_for(self):
        with tempfile.TemporaryDirectory() as folder:
            program = self.script(folder, "echo $$ > %s/pid; sleep 1000 & wait" % folder)
            with self.assertRaisesRegex(OSError, "no answer within 1 s"):
                gpu_memory.gpu_memory(program, seconds=1)
            with open(os.path.join(folder, "pid")) as file:
                pid = int(file.read())
        self.agent.wait(lambda: not os.path.exists("/proc/%d/exe" % pid))

    def preflight_with(self, script, **needs):
        with tempfile.TemporaryDirectory() as folder:
            program = self.script(folder, script)
            with mock.patch.object(gpu_memory, "find", lambda: program):
                return lm.preflight(**needs)

    def script(self, folder, text):
        program = os.path.join(folder, "nvidia-smi")
        with open(program, "w") as file:
            file.write("#!/bin/sh\n%s\n" % text)
        os.chmod(program, 0o755)
        return program

    def test_not_fine(self):
        found = lm.preflight(
            ["pip>=10000", "no-such-package"],
            min_gpus=3,
            min_driver_version="550.100",
            min_disk_free_gb=1e9,
        )
        has = found["facts"]["packages"]["pip"]
        free = found["facts"]["disk_free_bytes"] / 1e9
        self.assertEqual(
            (found["is_valid"], found["errors"]),
            (
                False,
                [
                    "GPUs: 2, expected at least 3",
                    "GPU driver version: 550.54.15, expected at least 550.100",
                    "free disk space: %.1f GB, expected at least 1000000000 GB" % free,
                    "Python package pip: %s, expected pip 10000 or later" % has,
                    "Python package no-such-package: not installed, expected no-such-package",
                ],
            ),
        )

    def test_what_is_not_known_does_not_do(self):
        with mock.patch.object(installed, "cuda_version", lambda: None):
            found = lm.preflight([], 40, "12.1", min_free_gpu_memory_gb=1.5)
        self.assertEqual(
            found["errors"],
            [
                "GPU 0 (H100), memory: not known, expected at least 40 GB",
                "GPU 1 (H100), memory: not known, expected at least 40 GB",
                "GPU 0 (H100), free memory: not known, expected at least 1.5 GB",
                "GPU 1 (H100), free memory: not known, expected at least 1.5 GB",
                "CUDA version: not known, expected at least 12.1",
            ],
        )

    def test_cuda_is_compared_by_numbers(self):
        torch = types.ModuleType("torch")
        torch.version = types.SimpleNamespace(cuda="12.1")
        with mock.patch.dict(sys.modules, torch=torch):
            self.assertTrue(lm.preflight(min_cuda_version="9.2")["is_valid"])
            self.assertEqual(
                lm.preflight(min_cuda_version="12.10")["errors"],
                ["CUDA version: 12.1, expected at least 12.10"],
            )

    def test_an_agent_that_refuses(self):
        self.agent.replies["node.inventory"] = error("too_many", "busy")
        found = lm.preflight()
        self.assertEqual(
            found["warnings"], ["the agent's inventory: busy; read by this process instead"]
        )

    def test_without_an_agent(self):
        self.set_environment("LEZEA_MONITOR_SOCKET", "/nowhere/agent.sock")
        found = lm.preflight(["pip"], min_disk_free_gb=0)
        self.assertEqual((found["is_valid"], found["warnings"]), (True, []))
        if not os.path.exists("/proc/driver/nvidia/version"):
            self.assertEqual(
                lm.preflight(min_gpus=1, min_gpu_memory_gb=1)["errors"],
                [
                    "GPUs: not known, no driver lists them, expected at least 1",
                    "GPU memory: not known, no driver lists them, expected at least 1 GB",
                ],
            )

    def test_what_is_no_requirement(self):
        for given in (
            {"required_packages": ["torch==2"]}, {"required_packages": [3]}, {"min_cuda_version": "new"},
            {"min_cuda_version": 12.10}, {"min_driver_version": ""}, {"required_packages": ["a>=b"]},
        ):  # fmt: skip
            with self.assertRaises(ValueError, msg=given):
                lm.preflight(**given)

    def test_a_folder_that_is_not_there(self):
        found = lm.preflight(min_disk_free_gb=1, folder="/nowhere")
        self.assertEqual(found["errors"], ["free disk space: not known, expected at least 1 GB"])
        self.assertIn("/nowhere", found["warnings"][0])


class NodeFactsTest(unittest.TestCase):
    def test_the_drivers_files(self):
        with tempfile.TemporaryDirectory() as root:
            folder = os.path.join(root, "proc/driver/nvidia")
            os.makedirs(os.path.join(folder, "gpus/0000:41:00.0"))
            with open(os.path.join(folder, "version"), "w") as file:
                file.write(
                    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n"
                )
            with open(os.path.join(folder, "gpus/0000:41:00.0/information"), "w") as file:
                file.write("Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-1\nVideo BIOS: \t 96.00\n")
            self.assertEqual(
                node_facts._read(root),
                {
                    "driver_version": "550.54.15",
                    "gpus": [{"uuid": "GPU-1", "model": "NVIDIA H100"}],
                },
            )
            self.assertEqual(node_facts._read(os.path.join(root, "proc")), {})

    def test_visible_devices(self):
        first, second = GPUS
        for said, left in [
            (None, GPUS), ("", []), ("-1", []), ("1", [second]), ("1,0", [second, first]), ("0,7,1", [first]),
            ("GPU-ab", [second]), ("GPU-a", []), ("MIG-1, 0", [{"uuid": "MIG-1"}, first]),
        ]:  # fmt: skip
            self.assertEqual(node_facts.visible(GPUS, said), left, said)


class InstalledTest(unittest.TestCase):
    def test_cuda_of_a_torch_that_is_not_imported(self):
        for line, cuda in [("cuda: Optional[str] = '12.4'", "12.4"), ("cuda = None", None)]:
            with tempfile.TemporaryDirectory() as folder:
                os.mkdir(os.path.join(folder, "torch"))
                with open(os.path.join(folder, "torch/__init__.py"), "w") as file:
                    file.write("raise SystemExit('imported')\n")
                with open(os.path.join(folder, "torch/version.py"), "w") as file:
                    file.write("__version__ = '2.4.0+cu124'\ndebug = False\n%s\n" % line)
                with mock.patch.object(sys, "path", [folder]):
                    importlib.invalidate_caches()
                    self.assertEqual(installed.cuda_version(), cuda)
                self.assertNotIn("torch", sys.modules)
