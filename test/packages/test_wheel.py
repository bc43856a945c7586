"""The wheel of the Python client: installs from the file alone, with its accelerator, for every CPython."""

import glob
import os
import shutil
import subprocess
import tempfile
import unittest
import zipfile

from parts import VERSION, package, run

MEASURE = """
import lezea_monitor as lm
from lezea_monitor import accel
with lm.start_run(experiment="wheel") as run, run.builder("b0"):
    sum(range(100000))
print(lm.__file__, lm.__version__, accel.native is not None)
"""


def other_pythons():
    """The oldest and the newest CPython from 3.9 on that pyenv has built here."""
    home = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = {}
    for candidate in glob.glob(os.path.join(home, "versions", "*", "bin", "python3")):
        done = run(candidate, "-c", "import sys; print(*sys.version_info[:2])")
        version = tuple(map(int, done.stdout.split()))
        if version >= (3, 9):
            found[version] = candidate
    return [found[version] for version in sorted(found)[:1] + sorted(found)[1:][-1:]]


class WheelTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="lezea-wheel-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.wheel = package("lezea_monitor-*_x86_64.whl")

    def check(self, python, **variables):
        done = run(python, "-B", "-c", MEASURE, cwd=self.folder, env={"HOME": self.folder, **variables})
        self.assertEqual(done.returncode, 0, done.stderr)
        path, version, accelerated = done.stdout.split()
        self.assertTrue(path.startswith(self.folder), path)
        self.assertEqual((version, accelerated), (VERSION, "True"))

    def test_pip_installs_it_without_a_network(self):
        environment = os.path.join(self.folder, "venv")
        subprocess.run(["/usr/bin/python3", "-m", "venv", environment], check=True)
        inside = os.path.join(environment, "bin", "python")
        done = run(inside, "-m", "pip", "install", "--no-index", "--quiet", self.wheel)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(inside)

    def test_its_accelerator_is_every_pythons(self):
        with zipfile.ZipFile(self.wheel) as archive:
            archive.extractall(self.folder)
        for python in ["/usr/bin/python3", *other_pythons()]:
            with self.subTest(python=python):
                self.check(python, PYTHONPATH=self.folder)
