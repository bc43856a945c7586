"""Which Python packages this interpreter has, without importing any of them.

Reads the metadata beside the packages, and what the program itself has imported; owns nothing.
"""

import re
import sys
from typing import Any, Dict, List, Optional

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


def versions_of(names: List[str]) -> Dict[str, Optional[str]]:
    return {name: version_of(name) for name in names}
