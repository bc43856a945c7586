"""The Debian package: what lintian says, and what is in it, unpacked: program, service, configuration, pages."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from parts import ROOT, TIMEOUT_SECONDS, VERSION, Agent, package, run

BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
COMPLETE = """
. %s; . "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_lezea_monitor; printf '%%s\\n' "${COMPREPLY[@]}"
""" % BASH_COMPLETION
# A terminal of zsh's own: what it lists after the tab key, up to a mark.
ZSH_COMPLETE = r"""
zmodload zsh/zpty
zpty shell "zsh -f -i"
zpty -w shell "PS1=; unsetopt zle_bracketed_paste; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D"
# What is typed before the line editor listens, the terminal takes; what is typed too soon after Tab suppresses the list.
zpty -w shell "zle-line-init() { print -n edi''ting }; zle -N zle-line-init"
zpty -w shell "zstyle ':completion:*' list-prompt ''; LISTMAX=1000; print rea''dy"
zpty -r shell seen '*ready*editing*'
zpty -w -n shell "$2"$'\t'
zpty -r shell seen "*$3*"
print -r -- $seen
"""


class DebTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.deb = package("lezea-monitor_*_amd64.deb")
        cls.folder = tempfile.mkdtemp(prefix="lezea-deb-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        subprocess.run(["dpkg-deb", "--raw-extract", cls.deb, cls.folder], check=True)
        cls.program = cls.path("usr/bin/lezea-monitor")

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def text(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def without_path(self, *arguments):
        """The program, where no Node.js is on the PATH but its own."""
        done = run(self.program, *arguments, env={"PATH": os.path.dirname(shutil.which("readlink"))})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @unittest.skipUnless(shutil.which("lintian"), "no lintian: apt-get install lintian")
    def test_lintian_has_nothing_to_say(self):
        done = run("lintian", "--fail-on", "error,warning", "--tag-display-limit", "0", self.deb)
        self.assertEqual(re.findall(r"^[EW]: .*", done.stdout, re.M), [])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_it_brings_its_own_node(self):
        self.assertEqual(self.without_path("--version").strip(), VERSION)
        with open(os.path.join(ROOT, "packaging", "nodes", "package.json"), encoding="utf-8") as file:
            pinned = json.load(file)["dependencies"]["node-22"].split("@")[-1]
        done = run(self.path("usr/lib/lezea-monitor/node/bin/node"), "--version")
        self.assertEqual(done.stdout.strip(), "v" + pinned)

    def test_it_measures(self):
        with Agent(self.program, {"PATH": "/usr/bin:/bin"}) as agent:
            node = os.readlink("/proc/%d/exe" % agent.process.pid)
            self.assertTrue(node.startswith(self.folder), node)
            done = agent.run("ls", self.path("etc"))
        self.assertEqual((done.returncode, done.stdout), (0, "lezea-monitor\n"), done.stderr)
        self.assertRegex(done.stderr, r"FINISHED\nTOTALS\n(.*\n)*CPU time +0\.\d+ s")

    def test_what_the_unit_starts_is_there(self):
        unit = self.text("usr/lib/systemd/system/lezea-monitor.service")
        (command,) = re.findall(r"^ExecStart=(.*)", unit, re.M)
        node, script, _, _, config = command.split()
        for path in (node, script, config):
            self.assertTrue(os.path.isfile(self.path(path[1:])), path)
        self.assertTrue(os.access(self.path(node[1:]), os.X_OK))

    def test_only_what_is_executed_is_executable(self):
        executable = []
        for folder, _, files in os.walk(self.folder):
            paths = [os.path.join(folder, name) for name in files]
            executable += [path for path in paths if not os.path.islink(path) and os.access(path, os.X_OK)]
        names = sorted(os.path.relpath(path, self.folder) for path in executable)
        program = ["usr/lib/lezea-monitor/bin/lezea-monitor", "usr/lib/lezea-monitor/node/bin/node"]
        self.assertEqual(names, ["DEBIAN/postinst", "DEBIAN/postrm", "DEBIAN/prerm", *program])

    def test_the_configuration_is_the_defaults_commented_out(self):
        self.assertEqual(self.text("DEBIAN/conffiles"), "/etc/lezea-monitor/config.yaml\n")
        shipped = self.path("etc/lezea-monitor/config.yaml")
        self.assertEqual([line for line in self.text(shipped).splitlines() if line and line[0] != "#"], [])
        taken = os.path.join(self.folder, "taken.yaml")
        with open(taken, "w", encoding="utf-8") as file:
            file.write(re.sub(r"^#(?!#)", "", self.text(shipped), flags=re.M))
        self.assertEqual(self.without_path("config", "check", shipped), shipped + ": fine\n")
        self.assertEqual(self.without_path("config", "check", taken), taken + ": fine\n")
        defaults, values = self.values(shipped), self.values(taken)
        self.assertEqual(set(values), set(defaults))
        # Where the default is chosen, it says null, which chooses too.
        constant = [key for key in values if values[key] is not None and key != "agent.mode"]
        self.assertEqual([values[key] for key in constant], [defaults[key] for key in constant])

    def values(self, config):
        printed = json.loads(self.without_path("config", "print", "--config", config, "--json"))
        return {entry["key"]: entry["value"] for entry in printed["values"]}

    @unittest.skipUnless(shutil.which("man"), "no man: apt-get install man-db")
    def test_man_has_no_complaint_of_the_pages_and_they_have_all(self):
        for page in ("man1/lezea-monitor.1", "man8/lezea-monitor-agent.8", "man5/lezea-monitor-config.5"):
            path = self.path("usr/share/man/%s.gz" % page)
            environment = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
            done = run("man", "--warnings", "-E", "UTF-8", "-l", path, env=environment)
            self.assertEqual(done.stderr, "", page)
            if page.startswith("man5"):
                for key in self.values(self.path("etc/lezea-monitor/config.yaml")):
                    self.assertIn(key, done.stdout)
            if page.startswith("man1"):
                for command in ("run [options]", "outbox export", "config check"):
                    self.assertIn("lezea-monitor " + command, done.stdout)

    @unittest.skipUnless(os.path.exists(BASH_COMPLETION), "no bash-completion: apt-get install bash-completion")
    def test_bash_completes(self):
        script = self.path("usr/share/bash-completion/completions/lezea-monitor")
        for words, expected in (
            (["out"], ["outbox"]),
            (["outbox", "ex"], ["export"]),
            (["outbox", "ls", "--r"], ["--run"]),
            (["run", "--summary", "/etc/hostn"], ["/etc/hostname"]),
            (["run", "--name", "x", "--", "ls", "/etc/hostn"], ["/etc/hostname"]),
            (["config", "check", "/etc/hostn"], ["/etc/hostname"]),
            (["runs", "--run"], [""]),
        ):
            done = run("bash", "-c", COMPLETE, "bash", script, "lezea-monitor", *words)
            self.assertEqual(done.stdout.splitlines(), expected, (words, done.stderr))

    @unittest.skipUnless(shutil.which("zsh"), "no zsh: apt-get install zsh")
    def test_zsh_completes(self):
        functions = self.path("usr/share/zsh/vendor-completions")
        for typed, expected in (
            ("lezea-monitor outbox ", ("retry", "fsck")),
            ("lezea-monitor run --s", ("--summary", "--scope")),
        ):
            # They are listed by the alphabet: when the last has come, all have.
            words = ["zsh", functions, typed, max(expected)]
            done = run("zsh", "-f", "-c", ZSH_COMPLETE, *words, timeout=TIMEOUT_SECONDS)
            for word in expected:
                self.assertIn(word, done.stdout, (typed, done.stderr))

    def test_its_scripts_are_sound_and_its_sums_right(self):
        for name in ("postinst", "prerm", "postrm"):
            self.assertEqual(run("sh", "-n", self.path("DEBIAN/" + name)).returncode, 0)
        done = run("md5sum", "--quiet", "--check", "DEBIAN/md5sums", cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_it_has_the_python_client(self):
        packages = self.path("usr/lib/python3/dist-packages")
        ask = "import lezea_monitor as lm; print(lm.__file__)"
        done = run("/usr/bin/python3", "-B", "-c", ask, env={"PYTHONPATH": packages})
        self.assertEqual(done.stdout.strip(), packages + "/lezea_monitor/__init__.py", done.stderr)
        self.assertFalse([name for name in os.listdir(packages) if name.endswith("RECORD")])
