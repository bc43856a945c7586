"""What a process can say of itself without being asked: interpreter, packages, code, environment.

Levels: basic, standard, complete; each has what the one before it has. No argument of the command
line is read, and of the environment only the variables of ALLOWED. Raises nothing.
"""

import logging
import os
import platform
import sys
import threading
from typing import Any, Callable, Dict, Iterator, Optional, Union

from . import installed
from .noop import warn_once

log = logging.getLogger("lezea_monitor")

LEVELS = ("none", "basic", "standard", "complete")
VARIABLE = "LEZEA_MONITOR_CAPTURE_LEVEL"
DEFAULT = 1  # basic: a millisecond, no file, no process
LOCAL_RANKS = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")
MAX_VALUE_CHARS = 250
MAX_PACKAGES = 5000
# What tells how a program was run. No variable that anybody keeps a secret in.
ALLOWED = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING", "NVIDIA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_CUDA_ALLOC_CONF", "TORCH_CUDA_ARCH_LIST", "TF_DETERMINISTIC_OPS",
    "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "PYTHONHASHSEED",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
    "NCCL_DEBUG", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE", "NCCL_SOCKET_IFNAME", "NCCL_ALGO",
    "NCCL_PROTO", "RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_NNODES", "SLURM_NTASKS", "SLURM_PROCID",
    "SLURM_CPUS_PER_TASK", "SLURM_GPUS", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ",
)  # fmt: skip

Json = Dict[str, Any]
Level = Union[None, bool, int, str]


# https://slurm.schedmd.com/sbatch.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
SLURM_JOB = {
    "job_id": "SLURM_JOB_ID",
    "job_name": "SLURM_JOB_NAME",
    "array_task_id": "SLURM_ARRAY_TASK_ID",
    "cluster": "SLURM_CLUSTER_NAME",
    "partition": "SLURM_JOB_PARTITION",
    "nodes": "SLURM_JOB_NODELIST",
}


def level_of(given: Level) -> int:
    """0 to 3; None: as LEZEA_MONITOR_CAPTURE_LEVEL says. Raises ValueError for what is no level."""
    if given is None:
        said = os.environ.get(VARIABLE, "")
        found = _level(said.strip().lower()) if said else DEFAULT
        if found is None:
            text = "%s=%s is none of %s; basic is taken"
            warn_once("capture level", text, VARIABLE, said, ", ".join(LEVELS))
        return DEFAULT if found is None else found
    found = _level(given.lower() if isinstance(given, str) else given)
    if found is None:
        raise ValueError("capture_level: expected 1, 2, 3 or one of %s, not %r" % (LEVELS, given))
    return found


def _level(given: Union[bool, int, str]) -> Optional[int]:
    if isinstance(given, str):
        return LEVELS.index(given) if given in LEVELS else int(given) if given in "0123" else None
    if given is True:
        return None
    return int(given) if given in (0, 1, 2, 3) else None


class Capture:
    """A capture on a thread of its own; `tell` is called with pieces of JSON."""

    def __init__(self, level: int, tell: Callable[[Json], None]) -> None:
        self._thread: Optional[threading.Thread] = None
        local_rank = next(filter(None, map(os.environ.get, LOCAL_RANKS)), "0")
        if level == 0 or local_rank != "0":  # the node's first process says it for the others
            return
        try:
            self._thread = threading.Thread(
                target=_run, args=(level, tell), name="lezea-monitor-capture", daemon=True
            )
            self._thread.start()
        except RuntimeError as error:  # no thread can be started any more
            self._thread = None
            log.debug("capture: %s", error)

    def wait(self, seconds: float) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, seconds))

    def after_fork(self) -> None:
        self._thread = None


def _run(level: int, tell: Callable[[Json], None]) -> None:
    pieces = captured(level)
    while True:
        try:
            tell({"captured": next(pieces)})
        except StopIteration:
            return
        except Exception as error:  # of an installation that is not whole, say
            log.debug("capture: %r", error)
            return


def captured(level: int) -> Iterator[Json]:
    """What is to be told, piece by piece: what is quick comes first."""
    kernel = os.uname()
    yield {
        "level": LEVELS[level],
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable or "",
        },
        "host": {
            "name": kernel.nodename,
            "platform": "%s-%s-%s" % (kernel.sysname, kernel.release, kernel.machine),
        },
        "program": os.path.basename(_program() or ""),
        "folder": os.path.basename(_folder() or ""),
    }
    if level >= 2:
        yield from _guarded(_standard)
        yield from _guarded(lambda: _code(level >= 3))
    if level >= 3:
        yield from _guarded(_conda)
        yield from _guarded(_freeze)
        yield {"environment": {n: os.environ[n][:MAX_VALUE_CHARS] for n in ALLOWED if n in os.environ}}  # fmt: skip


def _guarded(part: Callable[[], Json]) -> Iterator[Json]:
    """One part's trouble is not the others'."""
    try:
        found = part()
    except Exception as error:
        log.debug("capture: %r", error)
        return
    if found:
        yield found


def _program() -> Optional[str]:
    return getattr(sys.modules.get("__main__"), "__file__", None)


def _folder() -> Optional[str]:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _standard() -> Json:
    found: Json = {"packages": dict(sorted(installed.all_versions(MAX_PACKAGES).items()))}
    torch = getattr(sys.modules.get("torch"), "__version__", None) or found["packages"].get("torch")
    frameworks = {"torch": torch and str(torch), "cuda": installed.cuda_version()}
    frameworks = {name: version for name, version in frameworks.items() if version}
    if frameworks:
        found["frameworks"] = frameworks
    container = container_of(os.environ)
    if container:
        found["container"] = container
    scheduler = scheduler_of(os.environ)
    if scheduler:
        found["scheduler"] = scheduler
    return found


def scheduler_of(environment: Any, root: str = "/") -> Optional[Json]:
    """Who placed the process here, and as what: the Slurm job, or the Kubernetes pod."""
    job = {key: environment.get(name) for key, name in SLURM_JOB.items()}
    if job["job_id"]:
        return {"name": "slurm", **{key: v[:MAX_VALUE_CHARS] for key, v in job.items() if v}}
    account = os.path.join(root, "var/run/secrets/kubernetes.io/serviceaccount")
    if not os.path.isdir(account):
        return None
    try:
        with open(os.path.join(account, "namespace"), encoding="utf-8") as file:
            namespace = file.read(MAX_VALUE_CHARS).strip()
    except (OSError, UnicodeError):
        namespace = ""
    pod = environment.get("HOSTNAME") or ""  # which a pod's name is, unless it says another
    told = {"namespace": namespace, "pod": pod[:MAX_VALUE_CHARS]}
    return {"name": "kubernetes", **{key: value for key, value in told.items() if value}}


def container_of(environment: Any, root: str = "/") -> Optional[str]:
    """What the process runs in, as far as it leaves a trace; the words of the agent's inventory."""

    def there(path: str) -> bool:
        return os.path.exists(os.path.join(root, path))

    if there("var/run/secrets/kubernetes.io/serviceaccount"):
        return "kubernetes"
    if there("run/.containerenv"):
        return "podman"
    for variable, name in (("APPTAINER_NAME", "apptainer"), ("SINGULARITY_NAME", "singularity")):
        if environment.get(variable):
            return name
    try:
        with open(os.path.join(root, "run/systemd/container"), encoding="utf-8") as file:
            named = file.read(64).strip()
    except (OSError, UnicodeError):
        named = ""
    return named or ("docker" if there(".dockerenv") else None)


def _code(with_diff: bool) -> Json:
    from .git_state import git_state  # nobody else needs it

    program, folder = _program(), _folder()
    places = [os.path.dirname(os.path.abspath(program))] if program else []
    for place in [*places, *([folder] if folder else [])]:
        state = git_state(place, with_diff)
        if state:
            if state.get("dirty"):
                count = state.get("dirty_files_count", 0)
                text = "%d changed files in %s are not committed: the commit alone does not tell what runs"
                warn_once("dirty", text, count, place)
            return {"code": state}
    return {}


def _conda() -> Json:
    prefix = os.environ.get("CONDA_PREFIX")
    if not prefix:
        return {}
    packages = {}
    for name in sorted(os.listdir(os.path.join(prefix, "conda-meta")))[:MAX_PACKAGES]:
        parts = name[: -len(".json")].rsplit("-", 2) if name.endswith(".json") else []
        if len(parts) == 3:
            packages[parts[0]] = "%s=%s" % (parts[1], parts[2])
    return {"conda": {"name": os.path.basename(prefix), "packages": packages}}


def _freeze() -> Json:
    return {"freeze": installed.origins(MAX_PACKAGES)}
