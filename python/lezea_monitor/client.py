"""`start_run` and `monitored`: finding the agent, or doing without.

Reads LEZEA_RUN_ID and the sockets of wire.py; owns the process's one active run. On a platform
where nothing can be recorded, nothing of the rest is imported.
"""

import functools
import inspect
import os
import re
import sys
import threading
from typing import Any, Callable, Dict, Mapping, Optional, Union

from . import capture, redact
from .limits import OverBudget, checked
from .names import encode_name, text_of
from .noop import JoinedRun, NoRun, warn_once
from .ranks import ranks

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")

_active: Any = None
_starting = threading.RLock()


def start_run(
    experiment: Optional[str] = None,
    *,
    run_id: Optional[str] = None,
    name: Optional[str] = None,
    tags: Optional[Mapping[str, object]] = None,
    attach: Optional[str] = None,
    socket: Optional[str] = None,
    tracker: Union[None, bool, Mapping[str, object]] = None,
    rank: Optional[int] = None,
    world_size: Optional[int] = None,
    limits: Optional[Mapping[str, Any]] = None,
    on_limit: Optional[Callable[[Dict[str, Any]], Any]] = None,
    capture_level: Union[None, int, str] = None,
) -> Any:
    """Starts a run, or attaches this process to one that is there.

    run_id: the run to start or attach to; default LEZEA_RUN_ID, else the agent makes one.
    attach: the same, but the run must exist already.
    socket: the agent's socket; default LEZEA_MONITOR_SOCKET, else the usual places.
    tracker: where the totals go, for example {"mlflow_run_id": …}; what it does not say is taken
        from MLFLOW_* and from mlflow, if the program imports it. False: nothing is said.
    rank, world_size: of this process among all of the run, on all nodes; default as the launcher
        (torchrun, mpirun, srun) says.
    limits: what the run is allowed, for example {"core_hours": 40} (docs/limits.md).
    on_limit: called on a thread of the client's own, once at 80 % and once at 100 % of each limit,
        with how it stands and the `event`.
    capture_level: what the process says of itself, on a thread of its own: 1 or "basic",
        2 or "standard", 3 or "complete"; 0 or "none": nothing. Default
        LEZEA_MONITOR_CAPTURE_LEVEL, else basic.

    Without an agent the result is a run that does nothing, after one warning. While a run is
    active in this process a second call joins it. Raises ValueError for an impossible id, limit
    or level, and OverBudget where the limits say `"on_exceeded": "refuse"` and a budget is used up.
    """
    global _active
    for given in (run_id, attach):
        if given is not None and not RUN_ID.match(given):
            raise ValueError("a run id is 1 to 64 of A-Z a-z 0-9 . _ -, not %r" % given)
    wanted = attach or run_id
    allowed = None if limits is None else checked(limits)
    level = capture.level_of(capture_level)
    with _starting:
        if _active is not None:
            return _join(_active, wanted, allowed, on_limit)
        parameters = _parameters(experiment, name, tags)
        parameters.update(ranks(rank, world_size, functools.partial(warn_once, "ranks")))
        wanted = wanted or os.environ.get("LEZEA_RUN_ID") or None
        if wanted is not None:
            parameters["run_id"] = wanted
        if allowed:
            parameters["limits"] = allowed
        _active = _open(parameters, attach is not None, socket, tracker, on_limit, level)
        return NoRun(wanted or "") if _active is None else _active


def _parameters(
    experiment: Optional[object], name: Optional[object], tags: Optional[Mapping[str, object]]
) -> Dict[str, Any]:
    """What run.start is told, within the agent's limits."""
    parameters: Dict[str, Any] = {}
    if experiment is not None:
        parameters["experiment"] = text_of(experiment)[:1024]
    if name is not None:
        parameters["name"] = encode_name(name)[0]
    if tags:
        pairs = {text_of(key)[:250]: text_of(value)[:5000] for key, value in tags.items()}
        parameters["tags"] = redact.redacted(pairs)
    return parameters


def _join(
    active: Any, wanted: Optional[str], limits: Optional[Dict[str, Any]], on_limit: Any
) -> Union[JoinedRun, NoRun]:
    if wanted is None or wanted == active.id:
        if on_limit is not None:
            active.call_on_limit(on_limit)
        if limits:
            active.set_limits(limits)
        return JoinedRun(active)
    text = "this process is in run %s already; run %s is not recorded"
    warn_once("second", text, active.id, wanted)
    return NoRun(wanted)


def _open(
    parameters: Dict[str, Any],
    must_exist: bool,
    socket: Optional[str],
    tracker: Union[None, bool, Mapping[str, object]],
    on_limit: Any,
    level: int,
) -> Any:
    """A live run, or None after a warning."""
    if not sys.platform.startswith("linux") or sys.byteorder != "little":
        warn_once("agent", "nothing is recorded on this platform")
        return None
    from . import wire  # these need Linux
    from .run import Run
    from .session import Address

    problems = []
    for path, own_folder in wire.candidates(socket):
        try:
            address = Address(path, own_folder)
            return Run(address, dict(parameters), must_exist, _forget, tracker, on_limit, level)
        except wire.Unavailable as error:
            problems.append(str(error))
        except (wire.AgentError, OSError) as error:
            if getattr(error, "code", None) == "over_budget":
                raise OverBudget(str(error)) from error
            warn_once("agent", "nothing is recorded, the agent at %s refused: %s", path, error)
            return None
    warn_once("agent", "no agent, nothing is recorded (%s)", "; ".join(problems))
    return None


def _forget() -> None:
    global _active
    _active = None


def monitored(experiment: Optional[str] = None, **options: Any) -> Callable[..., Any]:
    """A decorator: every call of the function is a run. Takes what `start_run` takes."""

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        wrapper: Callable[..., Any]
        if inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with start_run(experiment, **options):
                    return await function(*args, **kwargs)

        elif inspect.isgeneratorfunction(function):

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with start_run(experiment, **options):
                    return (yield from function(*args, **kwargs))

        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with start_run(experiment, **options):
                    return function(*args, **kwargs)

        return functools.wraps(function)(wrapper)

    return decorator


def _in_child() -> None:
    """Another thread may have held the lock at the fork."""
    global _starting
    _starting = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
