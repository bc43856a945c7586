"""Capture levels: what each has, that no secret is among it, and that a repository runs nothing."""

import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

import lezea_monitor as lm
from lezea_monitor import capture, git_state, installed, noop

from .helpers import AgentTest

HAS_GIT = any(os.access(path, os.X_OK) for path in git_state.GIT)
IDENTITY = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false"]


def git(folder, *arguments):
    """The program's own git, as a test's author has it."""
    environment = {"PATH": os.environ["PATH"], "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", *IDENTITY, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return done.stdout.decode().strip()


def write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


class LevelTest(unittest.TestCase):
    def test_words_and_numbers(self):
        for given, level in [
            (1, 1), ("basic", 1), (2, 2), ("Standard", 2), (3, 3), ("complete", 3), ("3", 3), (0, 0),
            ("none", 0), (False, 0),
        ]:  # fmt: skip
            self.assertEqual(capture.level_of(given), level, given)
        for given in (4, "all", True, -1, ""):
            with self.assertRaises(ValueError, msg=given):
                capture.level_of(given)

    def test_the_environment_decides_where_nothing_is_said(self):
        noop._warned.clear()
        for said, level in [("", 1), ("3", 3), ("none", 0), (" Complete ", 3)]:
            with mock.patch.dict(os.environ, LEZEA_MONITOR_CAPTURE_LEVEL=said):
                self.assertEqual(capture.level_of(None), level)
                self.assertEqual(capture.level_of("basic"), 1)
        with mock.patch.dict(os.environ, LEZEA_MONITOR_CAPTURE_LEVEL="all"):
            with self.assertLogs("lezea_monitor", "WARNING"):
                self.assertEqual(capture.level_of(None), 1)

    def test_no_variable_of_the_list_is_one_that_holds_secrets(self):
        for name in capture.ALLOWED:
            self.assertNotRegex(name, r"KEY|TOKEN$|SECRET|PASS|CRED|AUTH|URL|URI")


class CaptureTest(AgentTest):
    def finish(self, run, *outcome):
        """Ends the run when the capture is done, however busy the machine is."""
        run._capture.wait(60)
        run.end(*outcome)

    def captured(self):
        merged = {}
        for params in self.agent.called("run.update"):
            merged.update(params.get("facts", {}).get("captured", {}))
        return merged

    def test_basic_by_default_on_a_thread_of_its_own(self):
        self.set_environment("LEZEA_MONITOR_CAPTURE_LEVEL", None)
        self.finish(self.start())
        found = self.captured()
        self.assertEqual(sorted(found), ["folder", "host", "level", "program", "python"])
        self.assertEqual(found["level"], "basic")
        self.assertEqual(found["python"]["version"], platform.python_version())
        self.assertEqual(found["folder"], os.path.basename(os.getcwd()))

    def test_standard_and_complete(self):
        for level in ("standard", "complete"):
            self.agent.calls.clear()
            self.finish(self.start(capture_level=level))
            found = self.captured()
            self.assertEqual(found["packages"]["pip"], installed.version_of("pip"))
            self.assertEqual("freeze" in found, level == "complete")
            self.assertEqual("environment" in found, level == "complete")

    def test_none_and_for_other_local_ranks_nothing(self):
        self.start(capture_level="none").end()
        with mock.patch.dict(os.environ, LOCAL_RANK="1"):
            self.start(capture_level=3).end()
        self.assertEqual(self.agent.called("run.update"), [])

    def test_a_start_does_not_wait_for_it(self):
        done = threading.Event()
        self.addCleanup(done.set)

        def slow(level):
            done.wait(30)
            yield {"level": level}

        with mock.patch.object(capture, "captured", slow):
            begin = time.monotonic()
            run = self.start(capture_level=3)
            self.assertLess(time.monotonic() - begin, 2.0)
            with mock.patch.object(lm.run, "CAPTURE_SECONDS", 0.05):
                run.end()  # nor for ever at the end

    def test_one_warning_about_a_dirty_tree(self):
        logging.getLogger("lezea_monitor").setLevel(logging.WARNING)
        state = {"commit": "a" * 40, "dirty": True, "dirty_files": ["x"], "dirty_files_count": 1}
        with mock.patch.object(git_state, "git_state", lambda *_: state):
            with self.assertLogs("lezea_monitor", "WARNING") as logs:
                self.finish(self.start(capture_level=2))
                self.finish(self.start(capture_level=2))
        self.assertEqual(len(logs.output), 1)
        self.assertEqual(self.captured()["code"], state)

    def test_containers(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertIsNone(capture.container_of({}, root))
            self.assertEqual(capture.container_of({"APPTAINER_NAME": "x"}, root), "apptainer")
            write(root, ".dockerenv", "")
            self.assertEqual(capture.container_of({}, root), "docker")
            write(root, "run/systemd/container", "lxc\n")
            self.assertEqual(capture.container_of({}, root), "lxc")

    def test_the_scheduler_is_slurm_or_kubernetes_with_what_it_calls_the_job(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertIsNone(capture.scheduler_of({"HOSTNAME": "h"}, root))
            slurm = {"SLURM_JOB_ID": "17", "SLURM_JOB_PARTITION": "gpu", "SLURM_JOB_NODELIST": "n[1-2]"}
            told = {"name": "slurm", "job_id": "17", "partition": "gpu", "nodes": "n[1-2]"}
            self.assertEqual(capture.scheduler_of(slurm, root), told)
            account = "var/run/secrets/kubernetes.io/serviceaccount/"
            write(root, account + "token", "planted5ecret")
            self.assertEqual(capture.scheduler_of({}, root), {"name": "kubernetes"})
            write(root, account + "namespace", "research\n")
            told = {"name": "kubernetes", "namespace": "research", "pod": "train-0"}
            self.assertEqual(capture.scheduler_of({"HOSTNAME": "train-0"}, root), told)

    def test_no_planted_secret_leaves_the_process(self):
        secret = "planted5ecret"
        with tempfile.TemporaryDirectory() as folder:
            site = os.path.join(folder, "site")
            url = "https://x-token-auth:%s@host/p?token=%s" % (secret, secret)
            for name, told in [
                (
                    "one",
                    {"url": url + "#" + secret, "vcs_info": {"vcs": "git", "commit_id": "abc"}},
                ),
                ("two", {"url": url, "archive_info": {}}),
            ]:
                write(site, name + "-1.0.dist-info/METADATA", "Name: %s\nVersion: 1.0\n" % name)
                write(site, name + "-1.0.dist-info/direct_url.json", json.dumps(told))
            write(folder, "conda/conda-meta/numpy-1.26.4-py311_0.json", url)
            write(folder, ".netrc", "machine host login me password " + secret)
            variables = {
                "AWS_SECRET_ACCESS_KEY": secret, "MLFLOW_TRACKING_PASSWORD": secret, "HOME": folder,
                "MLFLOW_TRACKING_URI": "https://me:%s@tracker/x?k=%s" % (secret, secret),
                "HF_TOKEN": secret, "WANDB_API_KEY": secret, "CONDA_PREFIX": folder + "/conda",
                "PIP_INDEX_URL": url, "CUDA_VISIBLE_DEVICES": "0",
            }  # fmt: skip
            if HAS_GIT:
                git(folder, "init", "-q")
                git(folder, "remote", "add", "origin", url)
            argv = ["train.py", "--api-key", secret]
            with mock.patch.dict(os.environ, variables), mock.patch.object(sys, "argv", argv):
                with mock.patch.object(sys, "path", [site, *sys.path]):
                    with mock.patch.object(capture, "_program", lambda: folder + "/train.py"):
                        run = self.start(capture_level="complete", tags={"from": url})
                        run.facts(data=url, hyperparameters={"password": secret}, tags={"t": url})
                        run.event("loaded", url="https://h/")
                        self.finish(run, "FAILED", "no answer from " + url)
            found = self.captured()
        self.assertEqual(found["conda"]["packages"], {"numpy": "1.26.4=py311_0"})
        self.assertEqual(found["environment"]["CUDA_VISIBLE_DEVICES"], "0")
        self.assertEqual(found["freeze"]["one"], "@ git+https://host/p@abc")
        self.assertEqual(found["freeze"]["two"], "@ https://host/p")
        self.assertNotIn(secret, json.dumps(self.agent.calls))


@unittest.skipUnless(HAS_GIT, "git is not installed")
class GitTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = os.path.realpath(folder.name)
        git(self.root, "init", "-q", "-b", "main")
        write(self.root, "sub/a.py", "a = 1\n")
        git(self.root, "add", ".")
        git(self.root, "commit", "-q", "-m", "one")
        self.commit = git(self.root, "rev-parse", "HEAD")

    def state(self, with_diff=True):
        return git_state.git_state(os.path.join(self.root, "sub"), with_diff)

    def test_clean(self):
        clean = {"branch": "main", "commit": self.commit, "dirty": False}
        self.assertEqual(self.state(), clean)
        git(self.root, "pack-refs", "--all")
        self.assertEqual(self.state(), clean)
        git(self.root, "checkout", "-q", "--detach")
        self.assertEqual(self.state(), {"commit": self.commit, "dirty": False})
        write(self.root, ".git/HEAD", "ref: refs/heads/.invalid\n")  # as a reftable has it
        self.assertNotIn("branch", self.state())

    def test_dirty(self):
        write(self.root, "sub/a.py", "a = 2\n")
        write(self.root, "new file", "")
        found = self.state()
        self.assertEqual((found["dirty"], found["dirty_files_count"]), (True, 2))
        self.assertEqual(found["dirty_files"], ["sub/a.py", "new file"])
        self.assertRegex(found["diff_sha256"], r"^[0-9a-f]{64}$")
        self.assertNotIn("diff_sha256", self.state(with_diff=False))
        write(self.root, "sub/a.py", "a = 3\n")
        self.assertNotEqual(self.state()["diff_sha256"], found["diff_sha256"])

    def test_a_worktree_and_no_repository(self):
        other = self.root + "-tree"
        git(self.root, "worktree", "add", "-q", "-b", "side", other)
        self.addCleanup(git, self.root, "worktree", "remove", "--force", other)
        found = git_state.git_state(other, False)
        self.assertEqual(found, {"branch": "side", "commit": self.commit, "dirty": False})
        with tempfile.TemporaryDirectory() as nowhere:
            self.assertEqual(git_state.git_state(nowhere, True), {})

    def test_what_changed_in_a_submodule_is_a_change_and_nothing_of_it_runs(self):
        inner = os.path.join(self.root, "inner")
        git(self.root, "clone", "-q", self.root, inner)
        git(self.root, "submodule", "--quiet", "add", "./inner", "inner")
        git(self.root, "commit", "-q", "-m", "two")
        self.assertFalse(self.state()["dirty"])
        trap = os.path.join(self.root, ".git", "trap")
        for key in ("core.fsmonitor", "filter.evil.clean"):
            git(inner, "config", key, "touch " + trap)
        with open(os.path.join(inner, ".gitattributes"), "w") as file:
            file.write("* filter=evil\n")
        before = self.state(True)
        self.assertEqual(before["dirty_files"], ["inner/.gitattributes"])
        with open(os.path.join(inner, "sub", "a.py"), "a") as file:
            file.write("# more\n")
        after = self.state(True)
        self.assertEqual(after["dirty_files_count"], 2)
        self.assertNotEqual(after["diff_sha256"], before["diff_sha256"])
        self.assertFalse(os.path.exists(trap))
        with open(os.path.join(self.root, ".gitmodules"), "w") as file:
            file.write('[submodule "out"]\n\tpath = ../elsewhere\n')
        self.assertNotIn("dirty", self.state())

    def test_a_hostile_repository_runs_nothing(self):
        trap = os.path.join(self.root, ".git", "trap")
        write(self.root, ".git/trap", "#!/bin/sh\ntouch '%s/.git/sprung'\ncat\n" % self.root)
        os.chmod(trap, 0o755)
        write(self.root, ".gitattributes", "*.py filter=evil diff=evil\n")
        for hook in ("post-index-change", "pre-commit", "fsmonitor-watchman"):
            write(
                self.root, ".git/hooks/" + hook, "#!/bin/sh\ntouch '%s/.git/sprung'\n" % self.root
            )
            os.chmod(os.path.join(self.root, ".git/hooks", hook), 0o755)
        for key in (
            "core.fsmonitor", "core.pager", "core.sshCommand", "core.askPass", "core.editor",
            "diff.external", "diff.evil.command", "diff.evil.textconv", "filter.evil.clean",
            "filter.evil.smudge", "filter.evil.process", "filter.a=b.clean", "gpg.program",
            "pager.status", "pager.diff", "alias.status", "credential.helper",
        ):  # fmt: skip
            git(self.root, "config", key, trap)
        git(self.root, "config", "filter.evil.required", "true")
        write(self.root, "sub/a.py", "a = 2\n")
        found = self.state()
        self.assertEqual(found["dirty_files"], ["sub/a.py", ".gitattributes"])
        self.assertIn("diff_sha256", found)
        self.assertFalse(os.path.exists(os.path.join(self.root, ".git/sprung")))
        # The trap is one: without the switches it springs.
        with mock.patch.object(git_state, "_SWITCHES", []):
            with mock.patch.object(git_state._Git, "_without_filters", lambda self: []):
                self.state()
        self.assertTrue(os.path.exists(os.path.join(self.root, ".git/sprung")))

    def test_the_environment_of_the_program_does_not_reach_git(self):
        with mock.patch.dict(os.environ, GIT_DIR="/nowhere", GIT_INDEX_FILE="/x", PATH="/nowhere"):
            self.assertEqual(self.state()["dirty"], False)

    def test_a_slow_git_is_given_up(self):
        slow = os.path.join(self.root, "slow")
        write(self.root, "slow", "#!/bin/sh\nexec sleep 60\n")
        os.chmod(slow, 0o755)
        with mock.patch.object(git_state, "GIT", (slow,)):
            with mock.patch.object(git_state, "TIMEOUT_SECONDS", 0.2):
                begin = time.monotonic()
                self.assertEqual(self.state(), {"branch": "main", "commit": self.commit})
        self.assertLess(time.monotonic() - begin, 10)
