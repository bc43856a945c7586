"""What a source distribution must have: every package, and what the accelerator is built of."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest

PYTHON = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class SourceDistributionTest(unittest.TestCase):
    @unittest.skipUnless(importlib.util.find_spec("setuptools"), "this Python has no setuptools")
    def test_it_has_every_header_that_the_accelerator_includes(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder]
            command += ["sdist", "--formats", "gztar", "--dist-dir", folder]
            done = subprocess.run(command, cwd=PYTHON, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            (archive,) = [name for name in os.listdir(folder) if name.endswith(".tar.gz")]
            with tarfile.open(os.path.join(folder, archive)) as tar:
                names = [name.split("/", 1)[-1] for name in tar.getnames()]
        # Setuptools before 61, which pip never takes for it, reads no pyproject.toml: neither name nor packages.
        if not archive.startswith("UNKNOWN"):
            self.assertIn("lezea_monitor/compat/resource_logger.py", names)
        with open(os.path.join(PYTHON, "lezea_monitor", "_accel.c"), encoding="utf-8") as source:
            included = re.findall(r'#include "(.+)"', source.read())
        self.assertEqual(len(included), 2)
        for header in included:
            self.assertTrue(
                any(f"{folder}/{header}" in names for folder in ("lezea_monitor", "native")), header
            )
