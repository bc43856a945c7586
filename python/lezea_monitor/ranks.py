"""Which of a run's processes this one is, as its launcher says: torchrun, srun, mpirun.

Reads the environment and what start_run was given; emits parameters of run.start. Nothing in here
raises.
"""

import os
import re
from typing import Any, Callable, Dict, Optional

MOST = 10_000_000  # as the protocol has it
_DIGITS = re.compile(r"[0-9]{1,8}\Z")
# Rank and number of processes, then how many are on this node. The innermost launcher first: under
# srun, torchrun's word counts.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS", ""),
)
Warn = Callable[..., None]


def ranks(rank: Any, world_size: Any, warn: Warn) -> Dict[str, int]:
    """What is given wins over the environment; what makes no sense is told to `warn`."""
    given = {}
    for name, value, least in (("rank", rank, 0), ("world_size", world_size, 1)):
        count = None if value is None else _given(value, least)
        if count is not None:
            given[name] = count
        elif value is not None:
            warn("%s=%r is none: ignored", name, value)
    if len(given) == 2 and given["rank"] >= given["world_size"]:
        warn("rank %d of %d processes: ignored", given["rank"], given["world_size"])
        given = {}
    found = {**_launched(warn), **given}
    # What was given speaks of other processes than the launcher does.
    return given if found.get("rank", 0) >= found.get("world_size", MOST) else found


def _launched(warn: Warn) -> Dict[str, int]:
    for rank_name, world_name, local_name in LAUNCHERS:
        texts = os.environ.get(rank_name), os.environ.get(world_name)
        if not all(texts):
            continue
        rank, world = _count(texts[0], 0), _count(texts[1], 1)
        if rank is None or world is None or rank >= world:
            text = "%s=%r %s=%r are no rank and number of processes: ignored"
            warn(text, rank_name, texts[0], world_name, texts[1])
            return {}
        found = {"rank": rank, "world_size": world}
        local = _count(os.environ.get(local_name), 1) if local_name else None
        if not local_name and _count(os.environ.get("SLURM_NNODES"), 1) == 1:
            local = world
        if local is not None:
            found["local_world_size"] = local
        return found
    return {}


def _given(value: Any, least: int) -> Optional[int]:
    """An int, or what behaves like one; a bool is none."""
    try:
        return None if isinstance(value, bool) else _count(str(value.__index__()), least)
    except Exception:  # whatever was given: a run starts
        return None


def _count(text: Optional[str], least: int) -> Optional[int]:
    if text is None or not _DIGITS.match(text):
        return None
    return int(text) if least <= int(text) <= MOST else None
