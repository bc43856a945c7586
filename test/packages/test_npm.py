"""The npm tarball: installs without compiler and network, and measures with each Node.js that it is for."""

import json
import os
import shutil
import tempfile
import unittest

from parts import Agent, bare_path, official_node, package, run

MAJORS = ("20", "22", "24")
# A user namespace gives the right to make a network namespace to who has not got it.
NO_NETWORK = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


class NpmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="lezea-npm-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.home = os.path.join(cls.folder, "home")
        cls.application = os.path.join(cls.folder, "application")
        os.mkdir(cls.home)
        os.mkdir(cls.application)
        cls.paths = {
            major: bare_path(os.path.join(cls.folder, "node-" + major), official_node(major))
            for major in MAJORS
        }
        # --offline: npm would try for ten seconds to ask for advisories.
        install = ["npm", "install", "--offline", package("lezea-monitor-*-linux-x64.tgz")]
        cls.alone = run(*NO_NETWORK, "true").returncode == 0
        prefix = [shutil.which("unshare"), *NO_NETWORK[1:]] if cls.alone else []
        command = [*prefix, shutil.which("env"), "-i", *cls.variables("20"), *install]
        cls.installed = run(*command, cwd=cls.application)
        cls.program = os.path.join(cls.application, "node_modules", ".bin", "lezea-monitor")

    @classmethod
    def variables(cls, major):
        return ["%s=%s" % entry for entry in cls.environment(major).items()]

    @classmethod
    def environment(cls, major):
        return {"PATH": cls.paths[major], "HOME": cls.home}

    def test_it_installs_with_node_and_npm_alone(self):
        for tool in ("cc", "gcc", "g++", "make", "python3"):
            self.assertIsNone(shutil.which(tool, path=self.paths["20"]))
        self.assertEqual(self.installed.returncode, 0, self.installed.stderr)
        self.assertNotIn("npm warn", self.installed.stderr)
        self.assertIn("added 1 package", self.installed.stdout)  # what it needs is in it
        if not self.alone:
            self.skipTest("this machine lets nobody make namespaces")

    def test_it_has_nothing_that_npm_would_run(self):
        for folder, _, files in os.walk(os.path.join(self.application, "node_modules")):
            if "package.json" in files:
                with open(os.path.join(folder, "package.json"), encoding="utf-8") as file:
                    self.assertNotIn("scripts", json.load(file), folder)
            self.assertNotIn("binding.gyp", files, folder)

    def test_it_has_the_newer_xml2js(self):
        path = "node_modules/lezea-monitor/node_modules/xml2js/package.json"
        with open(os.path.join(self.application, path), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["version"], "0.6.2")

    def test_it_measures_with_each_node(self):
        for major in MAJORS:
            with self.subTest(node=major), Agent(self.program, self.environment(major)) as agent:
                done = agent.run("ls", self.application)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("package.json", done.stdout)
                self.assertRegex(done.stderr, r"FINISHED\nTOTALS\n(.*\n)*CPU time +0\.\d+ s")

    def test_a_node_that_it_was_not_made_for_is_told(self):
        copy = os.path.join(self.folder, "copy")
        shutil.copytree(self.application, copy, symlinks=True)
        prebuilt = os.path.join(copy, "node_modules", "lezea-monitor", "prebuilt", "linux-x64")
        os.remove(os.path.join(prebuilt, "better_sqlite3-node20.node"))
        program = os.path.join(copy, "node_modules", ".bin", "lezea-monitor")
        done = run(program, "agent", "--state-dir", copy, "--listen", "127.0.0.1:0", env=self.environment("20"))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("this package does not fit Node.js v20", done.stderr)
        self.assertIn("linux-x64/better_sqlite3-node24.node", done.stderr)
