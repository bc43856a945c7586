"""The programs beside Python that rows run: Node scripts, and C++ linked with the agent's own core."""

import json
import os
import subprocess
from typing import Any, List, Optional

from .paths import BENCH, REPOSITORY

BUILT = os.path.join(REPOSITORY, "build", "bench")
CORE = os.path.join(REPOSITORY, "build", "Release", "lezea_core.a")


class Missing(Exception):
    """A tool or library that the figure needs is not here."""


def node(script: str, *arguments: object, timeout: float = 300) -> Any:
    """Runs bench/node/SCRIPT; the JSON that it prints."""
    command = ["node", "--expose-gc", os.path.join(BENCH, "node", script)]
    command += [str(argument) for argument in arguments]
    return json.loads(_output(command, timeout))


def node_peer(script: str, *arguments: object) -> Any:
    """The same for a peer's package, which bench/package.json brings."""
    package = script.rsplit(".", 1)[0]
    folders = [os.path.join(folder, "node_modules", package) for folder in (REPOSITORY, BENCH)]
    if not any(os.path.isdir(folder) for folder in folders):
        raise Missing("npm package %s (npm ci --prefix bench)" % package)
    return node(script, *arguments)


def native(name: str, *arguments: object, timeout: float = 300) -> Any:
    """Builds bench/native/NAME.cc with the agent's own objects if needed, runs it; the JSON it prints."""
    return json.loads(_output([build(name)] + [str(a) for a in arguments], timeout))


def build(name: str) -> str:
    """The path of the program of bench/native/NAME.cc, made with the flags of the addon."""
    source = os.path.join(BENCH, "native", name + ".cc")
    program = os.path.join(BUILT, name)
    if not os.path.exists(CORE):
        raise Missing("build/Release/lezea_core.a: npm run build:native makes it")
    sources = [entry.path for entry in os.scandir(os.path.dirname(source))]
    newest = max(os.path.getmtime(path) for path in sources + [CORE])
    if not os.path.exists(program) or os.path.getmtime(program) < newest:
        os.makedirs(BUILT, exist_ok=True)
        command = [os.environ.get("CXX", "g++"), "-std=c++17", "-O2", "-g", "-Wall", "-Wextra"]
        command += ["-I" + os.path.join(REPOSITORY, "native"), source, CORE]
        command += ["-pthread", "-o", program]
        subprocess.run(command, check=True)
    return program


def _output(command: List[str], timeout: float, cwd: Optional[str] = None) -> str:
    done = subprocess.run(
        command, capture_output=True, timeout=timeout, cwd=cwd or REPOSITORY, check=False
    )
    if done.returncode != 0:
        error = done.stderr.decode(errors="replace").strip()
        raise RuntimeError("%s: status %d\n%s" % (command[-1], done.returncode, error[-2000:]))
    return done.stdout.decode()
