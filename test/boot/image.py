"""The image of deploy/docker without Docker: its instructions carried out on a Debian in a folder, and its command run there.

Understands the few instructions that the file has; any other is an error.
"""

import glob
import json
import os
import re
import shutil
import subprocess
from typing import List

from machine import NSPAWN, BootFailed

BUILD_SECONDS = 300


class Image:
    """Its root folder, and the command that it starts with."""

    def __init__(self, dockerfile: str, context: str, base: str, folder: str) -> None:
        self.root = os.path.join(folder, "image")
        self.command: List[str] = []
        self._context = context
        subprocess.run(["cp", "-a", "--reflink=auto", base, self.root], check=True)
        with open(dockerfile, encoding="utf-8") as file:
            text = re.sub(r"\\\n", " ", file.read())
        entrypoint: List[str] = []
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            word, rest = line.split(None, 1)
            if word == "COPY":
                self._copy(*rest.split())
            elif word == "RUN":
                self._run(rest)
            elif word == "ENTRYPOINT":
                entrypoint = json.loads(rest)
            elif word == "CMD":
                self.command = entrypoint + json.loads(rest)
            elif word == "FROM":
                if not rest.startswith("debian:bookworm"):
                    raise BootFailed("FROM %s: the Debian in the folder is another" % rest)
            elif word not in ("VOLUME", "EXPOSE"):
                raise BootFailed("%s: an instruction that is not understood here" % word)

    def _copy(self, pattern: str, target: str) -> None:
        found = glob.glob(os.path.join(self._context, pattern))
        if not found:
            raise BootFailed("COPY %s: there is none" % pattern)
        for path in found:
            shutil.copy(path, self.root + target)

    def _run(self, command: str) -> None:
        # The machine's network, as a build has one.
        network = [option for option in NSPAWN if option != "--private-network"]
        done = subprocess.run(
            ["systemd-nspawn", *network, "--directory=" + self.root, "/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise BootFailed("RUN %s: %s" % (command, (done.stdout + done.stderr)[-800:]))

    def start(self, *further: str) -> "subprocess.Popen[bytes]":
        """Runs its command as a container does: as PID 1, with a read-only root, the volumes writable."""
        volumes = ("/run/lezea-monitor:mode=0755", "/var/lib/lezea-monitor:mode=0700", "/tmp")
        writable = ["--tmpfs=" + volume for volume in volumes]
        options = [*NSPAWN, "--read-only", *writable, "--directory=" + self.root]
        return subprocess.Popen(
            ["systemd-nspawn", *options, *self.command, *further],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
