"""What the end of the program and a fork have to tell the run.

Owns the replaced `sys.excepthook` and `sys.exit` (both call what was there before), one atexit
entry, one multiprocessing finalizer and one fork handler. No signal handler is installed or
changed: a process that a signal kills is seen by the agent.
"""

import atexit
import os
import sys
import threading
from typing import Any, Callable, Optional, Tuple

Outcome = Tuple[str, Optional[str]]  # status and reason, as run.end takes them
FINISHED: Outcome = ("FINISHED", None)
MAX_REASON_CHARS = 1000


def outcome_of(error: Optional[BaseException]) -> Outcome:
    """How a run ends whose code raised `error` (None: nothing)."""
    if error is None:
        return FINISHED
    if isinstance(error, SystemExit):
        return outcome_of_exit(error.code)
    status = "INTERRUPTED" if isinstance(error, KeyboardInterrupt) else "FAILED"
    try:
        message = str(error)
    except Exception:  # a broken __str__ of the caller's
        message = ""
    name = type(error).__name__
    return status, ("%s: %s" % (name, message) if message else name)[:MAX_REASON_CHARS]


def outcome_of_exit(code: Any) -> Outcome:
    """How a run ends whose program called `sys.exit(code)`."""
    if code is None or (isinstance(code, int) and code == 0):
        return FINISHED
    status = code if isinstance(code, int) else 1
    return "FAILED", "exit status %d" % status


class ExitHooks:
    """Installed while a run is active; `outcome` is what is known when the program ends."""

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self.outcome: Outcome = FINISHED
        self._on_exit = on_exit
        self._finalizer: Any = None
        self._watches_workers = False
        self._installed: Any = None

    def install(self) -> None:
        previous_hook, previous_exit = sys.excepthook, sys.exit

        def excepthook(kind: Any, error: Any, traceback: Any) -> None:
            self.outcome = outcome_of(error)
            previous_hook(kind, error, traceback)

        def leave(status: Any = None) -> Any:
            # SystemExit never reaches excepthook, and at exit its code is known to nobody.
            if threading.current_thread() is threading.main_thread():
                self.outcome = outcome_of_exit(status)
            previous_exit(status)

        leave.__doc__ = previous_exit.__doc__
        self._installed = (excepthook, leave)
        self._previous = (previous_hook, previous_exit)
        sys.excepthook, sys.exit = excepthook, leave  # type: ignore[assignment]
        atexit.register(self._at_exit)
        self.watch_multiprocessing()

    def watch_multiprocessing(self) -> None:
        """Workers end with os._exit: atexit is not run there, these finalizers are.

        The negative priority puts ours after the joining of the process's own workers.
        """
        util = sys.modules.get("multiprocessing.util")
        if util is None:
            return
        if self._finalizer is None:
            self._finalizer = util.Finalize(None, self._on_exit, exitpriority=-100)
        if not self._watches_workers:
            self._watches_workers = True
            util.register_after_fork(self, ExitHooks._begin_worker)

    def _begin_worker(self) -> None:
        """In a worker, which has just forgotten all finalizers and not run its target yet."""
        self._finalizer = None
        if self._installed is None:
            return
        self.watch_multiprocessing()
        process = sys.modules["multiprocessing.process"].current_process()
        run = process.run

        def run_and_tell() -> None:
            try:
                run()
            except BaseException as error:  # multiprocessing prints it and tells nobody
                self.outcome = outcome_of(error)
                raise

        process.run = run_and_tell

    def after_fork(self) -> None:
        """In a forked child: the parent's finalizer does nothing here."""
        self._finalizer = None
        self.outcome = FINISHED
        self.watch_multiprocessing()

    def _at_exit(self) -> None:
        # multiprocessing's own atexit entry may come later: it joins the workers first.
        if self._finalizer is None or not self._finalizer.still_active():
            self._on_exit()

    def uninstall(self) -> None:
        """Puts back what was there, where nobody has replaced ours since."""
        if sys.excepthook is self._installed[0]:
            sys.excepthook = self._previous[0]
        if sys.exit is self._installed[1]:
            sys.exit = self._previous[1]  # type: ignore[assignment]
        self._installed = None
        atexit.unregister(self._at_exit)
        if self._finalizer is not None:
            self._finalizer.cancel()
            self._finalizer = None


class Environment:
    """LEZEA_RUN_ID and LEZEA_MONITOR_SOCKET for the programs that this one starts."""

    def __init__(self, run_id: str, socket_path: str) -> None:
        self._set = {"LEZEA_RUN_ID": run_id, "LEZEA_MONITOR_SOCKET": socket_path}
        self._previous = {name: os.environ.get(name) for name in self._set}
        os.environ.update(self._set)

    def restore(self) -> None:
        """Puts back what was there, where nobody has changed ours since."""
        for name, value in self._previous.items():
            if os.environ.get(name) != self._set[name]:
                continue
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_fork_callback: Optional[Callable[[], None]] = None
_fork_registered = False


def on_fork(callback: Optional[Callable[[], None]]) -> None:
    """Calls `callback` in every child from now on (fork handlers cannot be taken back)."""
    global _fork_callback, _fork_registered
    _fork_callback = callback
    if not _fork_registered:
        _fork_registered = True
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    if _fork_callback is not None:
        _fork_callback()
