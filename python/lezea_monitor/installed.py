"""Which Python packages this interpreter has, without importing any of them.

Reads the metadata beside the packages, and what the program itself has imported; owns nothing.
"""

import itertools
import json
import re
import sys
from typing import Any, Dict, List, Optional

from .tracker_address import clean_address

_CUDA = re.compile(r"""^cuda\b[^=\n]*=\s*['"]([^'"\n]+)['"]""", re.MULTILINE)
MAX_SOURCE_CHARS = 64 * 1024  # of torch's version.py


def version_of(name: str) -> Optional[str]:
    """The installed version; None: not installed."""
    from importlib import metadata  # takes 30 ms: not whenever this package is imported

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cuda_version() -> Optional[str]:
    """That torch was built for; None without torch, without CUDA, or where it cannot be told."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        found = getattr(getattr(torch, "version", None), "cuda", None)
        return str(found) if found else None
    from importlib import util

    try:
        spec = util.find_spec("torch")  # of a top-level name: imports nothing
        folders: List[str] = list((spec and spec.submodule_search_locations) or ())
        for folder in folders:
            with open(folder + "/version.py", encoding="utf-8") as file:
                match = _CUDA.search(file.read(MAX_SOURCE_CHARS))
            return match.group(1) if match else None
    except (ImportError, ValueError, OSError, UnicodeError):
        pass  # an installation that is not whole tells nothing
    return None


def all_versions(most: int) -> Dict[str, str]:
    """Of every package that an import would find, by normalised names."""
    from importlib import metadata

    found: Dict[str, str] = {}
    for package in itertools.islice(metadata.distributions(), most):
        name = package.metadata["Name"]
        if name and package.version:  # the first on sys.path is the one that is imported
            found.setdefault(normal(name), package.version)
    return found


def origins(most: int) -> Dict[str, str]:
    """What `pip freeze` would say of each: its version, or where it came from."""
    from importlib import metadata

    found: Dict[str, str] = {}
    for package in itertools.islice(metadata.distributions(), most):
        name = package.metadata["Name"]
        if name and package.version:
            found.setdefault(normal(name), _origin(package) or "==" + package.version)
    return dict(sorted(found.items()))


def _origin(package: Any) -> Optional[str]:
    """PEP 610. Addresses have passwords in them; what follows a `?` may have, too."""
    try:
        told = json.loads(package.read_text("direct_url.json") or "null")
    except (ValueError, OSError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("url"), str):
        return None
    url = clean_address(told["url"].partition("?")[0].partition("#")[0])
    control = told.get("vcs_info")
    if isinstance(control, dict):
        return "@ %s+%s@%s" % (control.get("vcs"), url, control.get("commit_id"))
    editable = isinstance(told.get("dir_info"), dict) and told["dir_info"].get("editable")
    return "%s %s" % ("-e" if editable else "@", url)


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions_of(names: List[str]) -> Dict[str, Optional[str]]:
    return {name: version_of(name) for name in names}
