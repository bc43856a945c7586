"""The Debian package for arm64, made by `npm run package -- deb --arch arm64`: its agent, emulated by qemu, measures.

Emulated it has no netlink; what it measures is a real process of this machine.
"""

import glob
import os
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
from email.utils import formatdate

from parts import PACKAGES, ROOT, VERSION, Agent, package, run

QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
LIBRARIES = "/usr/aarch64-linux-gnu"  # Debian's libc6-arm64-cross, which the cross compiler brings
AARCH64 = 183  # EM_AARCH64 of elf.h
PATTERN = "lezea-monitor_*_arm64.deb"




def is_of_this_commit(path):
    """By the date in its changelog, which is the last commit's."""
    text = subprocess.run(
        "dpkg-deb --fsys-tarfile %s | tar -xO ./usr/share/doc/lezea-monitor/changelog.Debian.gz | gunzip" % path,
        **{"shell": True, "check": True, "capture_output": True, "text": True},
    ).stdout
    epoch = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    made = os.environ.get("SOURCE_DATE_EPOCH", epoch)
    return formatdate(int(made), usegmt=True).replace("GMT", "+0000") in text


@unittest.skipUnless(any(map(is_of_this_commit, glob.glob(os.path.join(PACKAGES, PATTERN)))), "no package for arm64")
class Arm64Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="lezea-arm64-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        subprocess.run(["dpkg-deb", "--raw-extract", package(PATTERN), cls.folder], check=True)

    def test_lintian_has_nothing_to_say(self):
        done = run("lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", package(PATTERN))
        self.assertEqual(re.findall(r"^[EW]: .*", done.stdout, re.M), [])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_binary_is_for_that_machine(self):
        machines = {}
        for folder, _, files in os.walk(self.folder):
            for path in (os.path.join(folder, name) for name in files):
                with open(path, "rb") as file:
                    head = file.read(20)
                if head[:4] == b"\x7fELF":
                    (machines[os.path.basename(path)],) = struct.unpack_from("<H", head, 18)
        self.assertEqual(set(machines.values()), {AARCH64}, machines)
        self.assertLessEqual({"node", "lezea_monitor.node", "_accel.abi3.so"}, set(machines))

    @unittest.skipUnless(QEMU and os.path.isdir(LIBRARIES), "no emulator: apt-get install qemu-user-static")
    def test_it_measures(self):
        program = os.path.join(self.folder, "lezea-monitor")
        inside = os.path.join(self.folder, "usr/lib/lezea-monitor")
        with open(program, "w", encoding="utf-8") as file:
            words = (QEMU, LIBRARIES, inside, inside)
            file.write('#!/bin/sh\nexec %s -L %s %s/node/bin/node %s/bin/lezea-monitor.js "$@"\n' % words)
        os.chmod(program, 0o755)
        self.assertEqual(run(program, "--version").stdout.strip(), VERSION)
        with Agent(program, {"PATH": os.environ["PATH"]}) as agent:
            done = agent.run("python3", "-c", "import time\nwhile time.process_time() < 0.5: pass")
        self.assertEqual(done.returncode, 0, done.stderr)
        (seconds,) = re.findall(r"^CPU time +([\d.]+) s", done.stderr, re.M)
        self.assertAlmostEqual(float(seconds), 0.5, delta=0.1)
