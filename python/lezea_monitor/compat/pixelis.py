"""Pixelis's `validate_environment`, on top of `preflight`.

Emits `{is_valid, errors, warnings}`. A shortage of GPU memory is an error, of total and of free
memory; versions compare as numbers; a GB is 10⁹ bytes.
"""

from typing import Any, Dict, List, Optional

from ..node_check import preflight


def validate_environment(
    required_packages: Optional[List[str]] = None,
    min_gpu_memory_gb: float = 0,
    min_cuda_version: Optional[str] = None,
) -> Dict[str, Any]:
    """Whether this node and interpreter have what a run needs. A requirement that is none is an error."""
    memory = min_gpu_memory_gb if min_gpu_memory_gb and min_gpu_memory_gb > 0 else None
    try:
        found = preflight(
            required_packages,
            min_gpu_memory_gb=memory,
            min_cuda_version=None if min_cuda_version is None else str(min_cuda_version),
            min_free_gpu_memory_gb=memory,
        )
    except ValueError as error:
        return {"is_valid": False, "errors": [str(error)], "warnings": []}
    return {key: found[key] for key in ("is_valid", "errors", "warnings")}
