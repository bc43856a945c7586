"""rldk's environment dict, with the hardware and driver that its own leaves out.

Reads the agent's inventory and the metadata of installed packages; imports no package and runs no
program. Without an agent `hardware`, `software` and `fingerprint` are not there, and the checksum
is of Python alone.
"""

import datetime
import hashlib
import json
import platform
import sys
import time
from typing import Any, Dict, List, Optional

from .. import installed

WAIT_SECONDS = 5.0
FRAMEWORKS = {
    "torch": "torch",
    "numpy": "numpy",
    "transformers": "transformers",
    "datasets": "datasets",
    "sklearn": "scikit-learn",
}


def capture_environment(socket: Optional[str] = None) -> Dict[str, Any]:
    """What this program runs on, with `environment_checksum`.

    The checksum is the same after a reboot and on a like node, and another with another package,
    driver or hardware. socket: the agent's; default as for `start_run`.
    """
    environment: Dict[str, Any] = {
        "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "python_version": sys.version,
        "python_executable": sys.executable,
        "pip": {"freeze": _packages()},
        "system": {
            "platform": platform.platform(),
            "system": platform.system(),
            "machine": platform.machine(),
            "python_implementation": platform.python_implementation(),
        },
        "ml_frameworks": _frameworks(),
    }
    inventory = _inventory(socket)
    for key in ("hardware", "software", "fingerprint"):
        if key in inventory:
            environment[key] = inventory[key]
    environment["environment_checksum"] = _checksum(environment)
    return environment


def _packages() -> List[str]:
    """`name==version`, sorted, as `pip freeze` lists them."""
    from importlib import metadata  # takes 30 ms

    found = {
        "%s==%s" % (one.metadata["Name"], one.version)
        for one in metadata.distributions()
        if one.metadata["Name"]
    }
    return sorted(found, key=str.lower)


def _frameworks() -> Dict[str, Dict[str, str]]:
    versions = {name: installed.version_of(package) for name, package in FRAMEWORKS.items()}
    found = {name: {"version": version} for name, version in versions.items() if version}
    cuda = installed.cuda_version()
    if cuda is not None and "torch" in found:
        found["torch"]["cuda_version"] = cuda
    return found


def _inventory(socket: Optional[str]) -> Dict[str, Any]:
    try:
        from .. import asking  # needs Linux

        deadline = time.monotonic() + WAIT_SECONDS
        agent, _ = asking.find(socket, deadline)
        try:
            return agent.ask("node.inventory", {}, deadline)
        finally:
            agent.close()
    except Exception:  # another platform, no agent, no answer in time
        return {}


def _checksum(environment: Dict[str, Any]) -> str:
    """SHA-256 of what decides results, as canonical JSON."""
    stable = environment.get("fingerprint", {}).get("stable")
    system = environment["system"]
    decides = {
        "python_version": environment["python_version"],
        "system": [system[key] for key in ("system", "machine", "python_implementation")],
        "pip_packages": environment["pip"]["freeze"],
        "ml_frameworks": environment["ml_frameworks"],
        **({} if stable is None else {"node": stable}),
    }
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
