"""Total and free memory of each GPU, as nvidia-smi says it now. Owns nothing."""

import os
import signal
from typing import Any, Dict, Iterable, Optional

FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
SECONDS = 30.0  # where a node has many GPUs it takes seconds
MIB = 1024 * 1024
_QUERY = ["--query-gpu=uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]


def find(folders: Iterable[str] = FOLDERS) -> Optional[str]:
    """The first nvidia-smi there; a PATH may name another's."""
    paths = (os.path.join(folder, "nvidia-smi") for folder in folders)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def gpu_memory(program: str, seconds: float = SECONDS) -> Dict[str, Dict[str, int]]:
    """By UUID `memory_total_bytes` and `memory_free_bytes`, as far as it says them.

    Waits for so many seconds at most. Raises OSError with what went wrong.
    """
    import subprocess  # it needs fcntl, and takes its time

    child = subprocess.Popen(
        [program, *_QUERY],
        env={"PATH": os.pathsep.join(FOLDERS), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said = child.communicate(timeout=seconds)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        # Not waited for: in a call that its driver never ends nothing can kill it.
        os.killpg(child.pid, signal.SIGKILL)
        child.stdout.close()  # type: ignore[union-attr]
        raise OSError("%s: no answer within %g s" % (program, seconds)) from None
    if child.returncode != 0:
        why = said.strip()[:200] or "no answer"
        raise OSError("%s: %s (exit status %d)" % (program, why, child.returncode))
    found = {}
    for line in said.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3:
            uuid, total, free = parts
            found[uuid] = {**_bytes("memory_total_bytes", total), **_bytes("memory_free_bytes", free)}
    return found


def add_memory(gpus: Iterable[Dict[str, Any]], memory: Dict[str, Dict[str, int]]) -> None:
    """Each GPU gets what is known of it."""
    for gpu in gpus:
        gpu.update(memory.get(gpu.get("uuid", ""), {}))


def _bytes(key: str, mib: str) -> Dict[str, int]:
    return {key: int(mib) * MIB} if mib.isascii() and mib.isdigit() else {}
