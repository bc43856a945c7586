"""What the node has of what a run may need, from the agent, else from the kernel's files.

Reads the agent's inventory or /proc/driver/nvidia, CUDA_VISIBLE_DEVICES and a file system's free
space; owns nothing. Unknown is absent.
"""

import os
import re
import time
from typing import Any, Dict, List, Optional, Tuple

FIND_SECONDS = 2.0
INVENTORY_SECONDS = 15.0  # the first one asks for descriptions that may take the agent 10 s
_DRIVER = re.compile(r"\s([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s")
Gpu = Dict[str, Any]


def node_facts(socket: Optional[str], root: str = "/") -> Tuple[Dict[str, Any], List[str]]:
    """`gpus` and `driver_version`, as far as they are known, and what could not be found out."""
    from .wire import AgentError, Unavailable  # it needs Linux

    problems: List[str] = []
    try:
        facts = _told(socket)
    except Unavailable:  # without an agent this process looks by itself
        facts = _read(root)
    except AgentError as error:
        problems.append("the agent's inventory: %s; read by this process instead" % error)
        facts = _read(root)
    if "gpus" in facts:
        facts["gpus"] = visible(facts["gpus"], os.environ.get("CUDA_VISIBLE_DEVICES"))
    return facts, problems


def _told(socket: Optional[str]) -> Dict[str, Any]:
    from . import asking, wire

    agent, _ = asking.find(socket, time.monotonic() + FIND_SECONDS)
    try:
        document = agent.ask("node.inventory", {}, time.monotonic() + INVENTORY_SECONDS)
    finally:
        agent.close()
    hardware, software = document.get("hardware"), document.get("software")
    if not isinstance(hardware, dict) or not isinstance(software, dict):
        raise wire.AgentError({"message": "it has no hardware and software"})
    facts: Dict[str, Any] = {}
    gpus = hardware.get("gpus")
    if isinstance(gpus, list):
        facts["gpus"] = [_gpu(gpu.get) for gpu in gpus if isinstance(gpu, dict)]
    if isinstance(software.get("nvidia_driver"), str):
        facts["driver_version"] = software["nvidia_driver"]
    return facts


def _read(root: str) -> Dict[str, Any]:
    """As the NVIDIA kernel driver lists them; nothing where there is no driver to say it."""
    folder = os.path.join(root, "proc/driver/nvidia")
    version = _text(os.path.join(folder, "version"))
    if version is None:
        return {}
    found = _DRIVER.search(version)
    facts: Dict[str, Any] = {"driver_version": found.group(1)} if found else {}
    facts["gpus"] = []
    try:
        buses = sorted(os.listdir(os.path.join(folder, "gpus")))
    except OSError:
        buses = []
    for bus in buses:
        fields = {}
        for line in (_text(os.path.join(folder, "gpus", bus, "information")) or "").splitlines():
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
        gpu = {"uuid": fields.get("GPU UUID"), "model": fields.get("Model")}
        facts["gpus"].append(_gpu(gpu.get))
    return facts


def _gpu(get: Any) -> Gpu:
    return {key: get(key) for key in ("uuid", "model") if isinstance(get(key), str) and get(key)}


def visible(gpus: List[Gpu], said: Optional[str]) -> List[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves: numbers in the bus's order, or beginnings of UUIDs.

    As CUDA reads it, nothing counts after the first entry that is none. A MIG instance is a device
    that nothing else is known of.
    """
    if said is None:
        return gpus
    left: List[Gpu] = []
    for entry in (part.strip() for part in said.split(",")):
        if entry.startswith("MIG-"):
            left.append({"uuid": entry})
            continue
        if re.match(r"[0-9]+\Z", entry):
            named = gpus[int(entry) : int(entry) + 1]
        else:
            named = [gpu for gpu in gpus if entry and gpu.get("uuid", "").startswith(entry)]
        if len(named) != 1:
            break
        left += named
    return left


def free_bytes(folder: str) -> int:
    """What an ordinary user can still write there, bytes. Raises OSError."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(64 * 1024).strip() or None
    except OSError:
        return None
