"""asyncio: the ring follows the task on every step.

Reads and sets one context variable: the innermost scope of the running task. Every step of an
event loop passes through `asyncio.events.Handle._run`; while a run is active that method is
replaced, so that each step announces its task's scope where that differs and goes back to the
loop's own scope afterwards. asyncio is never imported by this module: where the program imports
it later, the replacement happens right then.
"""

import importlib.util
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable, Optional

from .lane import ThreadState
from .layout import ACTIVATION
from .tree import Key, Node

if TYPE_CHECKING:
    from .scope import Scope

EVENTS = "asyncio.events"

# A task's context is copied from where the task was created: a child begins in the scope of its
# creator, and what it enters or leaves afterwards stays in its own copy.
innermost: "ContextVar[Optional[Scope]]" = ContextVar("lezea_monitor_scope", default=None)


def position(st: ThreadState) -> "Scope":
    """The innermost scope of this thread or, in a step, of its task."""
    if not st.in_task:
        return st.top
    return innermost.get() or st.base


def enter(cell: "Scope", st: ThreadState, child: Callable[[Node, Key], Node]) -> None:
    """Enters a scope in a task. `cell` is used once: child tasks may go on referring to it."""
    cell.outer = innermost.get()
    cell.node = child((cell.outer or st.base).node, cell.key)
    innermost.set(cell)
    st.announce(cell.node, st.announced, ACTIVATION)


def leave(cell: "Scope", st: ThreadState) -> bool:
    """Takes `cell` out of the task's scopes; False when it is not among them."""
    inner = innermost.get()
    if inner is cell:
        outer = cell.outer
        while outer is not None and outer.buried:
            outer = outer.outer
        innermost.set(outer)
    else:
        while inner is not None and inner.outer is not cell:
            inner = inner.outer
        if inner is None:
            return False
        inner.outer = cell.outer
    st.announce(position(st).node, st.announced)
    return True


class Hook:
    """Replaces `Handle._run` while a run is active."""

    def __init__(self, state: Callable[[], ThreadState]) -> None:
        self._state = state
        self._handle: Any = None
        self._original: Any = None
        self._replacement: Any = None
        self._finder: Optional[_ImportWatch] = None

    def install(self) -> None:
        """Now, or as soon as the program imports asyncio."""
        module = sys.modules.get(EVENTS)
        if module is not None and hasattr(module, "Handle"):
            self._replace(module)
        else:
            self._finder = _ImportWatch(self._replace)
            sys.meta_path.insert(0, self._finder)

    def uninstall(self) -> None:
        """Puts the original back, unless someone else has replaced it since."""
        if self._finder is not None and self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        self._finder = None
        if self._handle is not None and self._handle._run is self._replacement:
            self._handle._run = self._original
        self._handle = None

    def _replace(self, module: Any) -> None:
        original = module.Handle._run
        state = self._state
        hook = self

        def _run(handle: Any) -> None:
            if hook._handle is None:  # uninstalled below a later replacement of somebody else's
                return original(handle)
            st, saved = _begin_step(state, handle)
            try:
                return original(handle)
            finally:
                _end_step(st, saved)

        self._original = original
        self._replacement = _run
        self._handle = module.Handle
        module.Handle._run = _run


def _begin_step(state: Callable[[], ThreadState], handle: Any) -> Any:
    """Announces the task's scope. Returns the thread's state and what to put back."""
    st = state()
    if st.adopted:  # that step is over; `announced` is what it left behind
        st.adopted = st.in_task = False
    elif not st.in_task:
        st.announced = st.top.node.id
    saved = (st.in_task, st.base)
    here = position(st)
    st.base = here
    st.in_task = True
    scope = handle._context.get(innermost)
    node = (here if scope is None else scope).node
    if node.id != st.announced:
        st.announce(node, st.announced)
    return st, saved


def _end_step(st: ThreadState, saved: Any) -> None:
    """Back to the loop's own scope, which in a nested loop is a task's."""
    node = st.base.node
    if node.id != st.announced:
        st.announce(node, st.announced)
    st.in_task, st.base = saved


def adopt(st: ThreadState) -> None:
    """For a thread whose event loop is in the middle of a step that was not announced.

    Its scopes are the task's from the start; one more step, asked for here, follows at once and
    brings the thread back to the loop's own scope before the loop can go to sleep.
    """
    events = sys.modules.get(EVENTS)
    running = getattr(events, "_get_running_loop", lambda: None)()
    if running is not None:
        st.adopted = st.in_task = True
        running.call_soon(_no_operation)


def _no_operation() -> None:
    """The body of a step that is only there to be announced."""


class _ImportWatch:
    """A meta path finder that waits for `asyncio.events` and calls back once it is executed."""

    def __init__(self, callback: Callable[[Any], None]) -> None:
        self._callback = callback

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != EVENTS:
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._callback)  # type: ignore[assignment]
        return spec


class _Loader:
    """The real loader, with a call at the end; it removes itself from the module it loaded."""

    def __init__(self, loader: Any, callback: Callable[[Any], None]) -> None:
        self._loader = loader
        self._callback = callback

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._callback(module)
