"""`preflight`: whether this node, and this interpreter, have what a run needs.

The same requirements, words and result as the command `lezea-monitor preflight`. Owns nothing.
"""

import os
import platform
import re
import sys
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

from . import gpu_memory, installed, node_facts
from .versions import is_older, is_version

GB = 1e9
NO_DRIVER = "not known, no driver lists them"
_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:>=\s*(\S+))?\Z")
Number = Union[int, float]
Facts = Dict[str, Any]


def preflight(
    required_packages: Optional[Iterable[str]] = None,
    min_gpu_memory_gb: Optional[Number] = None,
    min_cuda_version: Optional[str] = None,
    *,
    min_free_gpu_memory_gb: Optional[Number] = None,
    min_gpus: Optional[int] = None,
    min_driver_version: Optional[str] = None,
    min_disk_free_gb: Optional[Number] = None,
    folder: Optional[str] = None,
    socket: Optional[str] = None,
) -> Dict[str, Any]:
    """`{is_valid, errors, warnings, facts}`: whether this node has what is asked for.

    required_packages: `"torch"` or `"torch>=2.1"`, looked up in this interpreter.
    min_gpu_memory_gb, min_free_gpu_memory_gb: of every GPU that CUDA_VISIBLE_DEVICES leaves; a GB
        is 10⁹ bytes. nvidia-smi is asked for it, 30 seconds at most.
    min_cuda_version: that torch was built for.
    folder: whose file system's free space counts; default the current one.
    socket: the agent's; default as for `start_run`. Without an agent this process looks by itself.

    What cannot be found out does not do, and the error says so. Raises ValueError for a
    requirement that is none.
    """
    packages = [_package(text) for text in required_packages or ()]
    versions = {"min_cuda_version": min_cuda_version, "min_driver_version": min_driver_version}
    for name, least in versions.items():
        if least is not None and not (isinstance(least, str) and is_version(least)):
            raise ValueError("%s: expected text such as '12.1', not %r" % (name, least))
    facts, warnings = node_facts.node_facts(socket)
    if min_gpu_memory_gb is not None or min_free_gpu_memory_gb is not None:
        warnings += _ask_memory(facts.get("gpus"))
    _put(facts, "cuda_version", installed.cuda_version())
    try:
        facts["disk_free_bytes"] = node_facts.free_bytes(folder or os.curdir)
    except OSError as error:
        warnings.append("free disk space: %s" % error)
    facts["python"] = {"executable": sys.executable, "version": platform.python_version()}
    if packages:
        facts["packages"] = installed.versions_of([name for name, _ in packages])
    errors = [
        *_gpu_errors(facts, min_gpus, min_gpu_memory_gb, min_free_gpu_memory_gb),
        *_version_errors("CUDA", facts.get("cuda_version"), min_cuda_version),
        *_version_errors("GPU driver", facts.get("driver_version"), min_driver_version),
        *_disk_errors(facts.get("disk_free_bytes"), min_disk_free_gb),
        *(text for name, least in packages for text in _package_errors(facts, name, least)),
    ]
    return {"is_valid": not errors, "errors": errors, "warnings": warnings, "facts": facts}


def _ask_memory(gpus: Optional[List[Facts]]) -> List[str]:
    """The GPUs get theirs; what went wrong."""
    program = gpu_memory.find() if gpus else None
    if program is not None:
        try:
            gpu_memory.add_memory(gpus or (), gpu_memory.gpu_memory(program))
        except OSError as error:
            return [str(error)]
    return []


def _package(text: str) -> Tuple[str, Optional[str]]:
    found = _PACKAGE.match(text.strip()) if isinstance(text, str) else None
    if found is None or (found.group(2) is not None and not is_version(found.group(2))):
        raise ValueError("required_packages: expected 'NAME' or 'NAME>=VERSION', not %r" % (text,))
    return found.group(1), found.group(2)


def _put(facts: Facts, key: str, value: Optional[str]) -> None:
    if value is not None:
        facts[key] = value


def _gpu_errors(
    facts: Facts, count: Optional[int], memory: Optional[Number], free: Optional[Number]
) -> List[str]:
    gpus = facts.get("gpus")
    none = NO_DRIVER if gpus is None else "no GPU"
    errors = []
    if count is not None and len(gpus or ()) < count:
        has = NO_DRIVER if gpus is None else len(gpus)
        errors.append("GPUs: %s, expected at least %s" % (has, count))
    for what, least, key in (
        ("memory", memory, "memory_total_bytes"),
        ("free memory", free, "memory_free_bytes"),
    ):
        if least is None:
            continue
        wanted = "expected at least %s GB" % _plain(least)
        if not gpus:
            errors.append("GPU %s: %s, %s" % (what, none, wanted))
        for index, gpu in enumerate(gpus or ()):
            model = " (%s)" % gpu["model"] if "model" in gpu else ""
            has = gpu.get(key)
            if has is None:
                errors.append("GPU %d%s, %s: not known, %s" % (index, model, what, wanted))
            elif has < least * GB:
                errors.append("GPU %d%s, %s: %.1f GB, %s" % (index, model, what, has / GB, wanted))
    return errors


def _version_errors(what: str, has: Optional[str], least: Optional[str]) -> List[str]:
    if least is None:
        return []
    if has is None:
        return ["%s version: not known, expected at least %s" % (what, least)]
    return (
        ["%s version: %s, expected at least %s" % (what, has, least)]
        if is_older(has, least)
        else []
    )


def _disk_errors(free: Optional[int], least: Optional[Number]) -> List[str]:
    if least is None:
        return []
    if free is None:
        return ["free disk space: not known, expected at least %s GB" % _plain(least)]
    if free >= least * GB:
        return []
    return ["free disk space: %.1f GB, expected at least %s GB" % (free / GB, _plain(least))]


def _package_errors(facts: Facts, name: str, least: Optional[str]) -> List[str]:
    has = facts["packages"][name]
    wanted = name if least is None else "%s %s or later" % (name, least)
    if has is None:
        return ["Python package %s: not installed, expected %s" % (name, wanted)]
    if least is None or not is_older(has, least):
        return []
    return ["Python package %s: %s, expected %s" % (name, has, wanted)]


def _plain(number: Number) -> str:
    """80.0 as 80."""
    return str(int(number)) if number == int(number) else str(number)
