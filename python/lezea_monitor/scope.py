"""Entering and leaving scopes: the hot path.

Reads the thread's clocks; emits one record per entry and one per exit. Owns the per-thread
states. A `with run.layer("x")` costs two clock readings, two of the CPU clock at most, one
dictionary lookup for the name, one for the child, and no lock. Whatever goes wrong is left to the
slow functions below, which raise nothing of ours. What a signal handler of the program's raises in
here, a timeout or KeyboardInterrupt, goes on to the program, and the scope is left behind. Where
there is the C accelerator (_accel.c) it does the usual case of `Scope`, and calls it for the rest.
"""

import threading
from time import monotonic_ns, thread_time_ns
from typing import Any, Callable, Dict, Optional

from . import tasks
from .accel import native
from .foreign import is_foreign
from .lane import (
    CPU_WATCH_NS,
    CPU_WINDOW_NS,
    IO_INTERVAL_NS,
    PROCESS_INTERVAL_NS,
    ThreadState,
)
from .layout import ACTIVATION, RECORD, RECORD_SHIFT, U32
from .ring import RingPool
from .tree import Key, Node, Tree

_pack = RECORD.pack_into


class Recorder:
    """Where the scopes of the current run go: its tree and its rings."""

    def __init__(self, tree: Tree, pool: RingPool) -> None:
        self.tree = tree
        self.pool = pool


class _AnyChild(Dict[Key, Node]):
    """The children of the scope that threads are in while no run is active."""

    def __missing__(self, key: Key) -> Node:
        return _nowhere


_nowhere = Node(0, None, None)
_nowhere.kids = _AnyChild()

# .st: the thread's ThreadState, set once: the accelerator keeps what it found. Replaced as a whole
# per run, by _use.
_local = threading.local()
_recorder: Optional[Recorder] = None
_lost_errors = 0


class Scope:
    """One activation, entered with `with`; also a decorator. Made by `run.layer(name)` etc."""

    __slots__ = ("key", "outer", "node", "buried", "cells")

    key: Key
    outer: "Optional[Scope]"  # the enclosing activation; None = not entered, or outermost
    node: Node  # valid while entered
    buried: bool  # ended by another thread or task than the one that entered it
    cells: Any  # activations of this object beyond the first, and those in asyncio tasks

    def __enter__(self) -> "Scope":
        try:
            st = _local.st
            if st.in_task or self.outer is not None:
                return _enter_cell(self, st)
            outer = st.top
            node = outer.node.kids[self.key]
            self.node = node
            self.outer = outer
            self.buried = False
            st.top = self
            t = monotonic_ns()
            if t < st.cpu_due:
                cpu = t - st.cpu_behind
                if cpu < st.cpu_last:
                    cpu = st.cpu_last
                else:
                    st.cpu_last = cpu
            else:  # as `stamps` in lane.py does
                if t > st.io_due:
                    st.stamp_io(t, outer.node.id)
                    t = monotonic_ns()
                cpu = thread_time_ns()
                st.cpu_behind = t - cpu
                st.cpu_due = t + CPU_WINDOW_NS
                if cpu < st.cpu_last:
                    cpu = st.cpu_last
                st.cpu_last = cpu
            n = st.claim()
            end = n + 1
            _pack(
                st.view, (n & st.mask) << RECORD_SHIFT, t, cpu, node.id, st.tid, ACTIVATION,
                end & U32,
            )  # fmt: skip
            st.heads[st.slot] = end
        except Exception as error:
            if is_foreign(error):
                _exit_slow(self)  # `with` never will
                raise
            _enter_slow(self)
        except BaseException:
            _exit_slow(self)
            raise
        return self

    def __exit__(self, exc_type: Any, exc: Any, traceback: Any) -> None:
        try:
            st = _local.st
            if st.top is not self:
                return _exit_slow(self)
            outer = self.outer
            st.top = outer
            self.outer = None
            t = monotonic_ns()
            if t < st.cpu_due:
                cpu = t - st.cpu_behind
                if cpu < st.cpu_last:
                    cpu = st.cpu_last
                else:
                    st.cpu_last = cpu
            else:  # as `stamps` in lane.py does
                if t > st.io_due:
                    st.stamp_io(t, self.node.id)
                    t = monotonic_ns()
                cpu = thread_time_ns()
                st.cpu_behind = t - cpu
                st.cpu_due = t + CPU_WINDOW_NS
                if cpu < st.cpu_last:
                    cpu = st.cpu_last
                st.cpu_last = cpu
            n = st.claim()
            end = n + 1
            _pack(
                st.view, (n & st.mask) << RECORD_SHIFT, t, cpu, outer.node.id, st.tid, 0, end & U32
            )
            st.heads[st.slot] = end
        except Exception as error:
            _exit_slow(self)
            if is_foreign(error):
                raise
        except BaseException:
            _exit_slow(self)
            raise

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from .decorate import decorate  # decorators are made once, at import time

        key = self.key
        return decorate(function, lambda: _new(key))

    def __reduce__(self) -> Any:
        """A copy is a scope that is still to be entered."""
        return again, (self.key,)


def _made_in_python(key: Optional[Key]) -> Scope:
    scope = Scope()
    scope.key = key  # type: ignore[assignment]
    scope.outer = None
    scope.buried = False
    return scope


_new: Callable[[Optional[Key]], Scope] = native.scope if native else _made_in_python
# Whether the kernel tells the accelerator that a thread was switched out.
SWITCHES_SHOW: bool = native is not None and native.setup(
    Scope.__enter__,
    Scope.__exit__,
    Scope.__call__,
    Scope.__reduce__,
    CPU_WINDOW_NS,
    CPU_WATCH_NS,
    IO_INTERVAL_NS,
    PROCESS_INTERVAL_NS,
)


def again(key: Key) -> Scope:
    """An activation that is still to be entered; copies and pickles of scopes are made so."""
    return _new(key)


def _root(node: Node) -> Scope:
    scope = _new(None)
    scope.node = node
    return scope


def state(in_step: bool = False) -> ThreadState:
    """The calling thread's state; made on its first use in this run.

    `in_step`: called by the hook of tasks.py, before the step that it announces.
    """
    local, recorder = _local, _recorder
    try:
        return local.st
    except AttributeError:
        if recorder is None:
            st = ThreadState(_root(_nowhere), None)
        else:
            st = ThreadState(_root(recorder.tree.root), recorder.pool)
            if not in_step:
                tasks.adopt(st)
        local.st = st
        return st


def current() -> Node:
    """The scope that the calling thread or task is in; the root when it is in none."""
    return tasks.position(state()).node


def place(node: Node, flags: int = 0) -> Scope:
    """Puts the calling thread or task into a scope that exists, wherever it is; see `leave`."""
    st = state()
    left = tasks.position(st).node.id
    scope = _new(None)
    scope.node = node
    if st.in_task:
        scope.outer = tasks.innermost.get()  # type: ignore[assignment]
        tasks.innermost.set(scope)
    else:
        scope.outer = st.top
        st.top = scope
    st.announce(node, left, flags)
    return scope


def move(scope: Scope, node: Node) -> None:
    """A placed scope is another from now on; nothing where another one was entered inside of it."""
    st = state()
    if tasks.position(st) is scope and scope.node is not node:
        left = scope.node.id
        scope.node = node
        st.announce(node, left)


def leave(scope: Scope) -> None:
    """Ends a placed scope: the thread or task is where it was put from."""
    st = state()
    left = scope.node.id
    if not (tasks.leave(scope, st) if st.in_task else _unlink(scope, st)):
        _bury(scope)
        st.announce(tasks.position(st).node, left)


def position() -> Scope:
    """The innermost scope of the calling thread or task; its root where it is in none."""
    return tasks.position(state())


def _child(parent: Node, key: Key) -> Node:
    recorder = _recorder
    try:
        return parent.kids[key]
    except KeyError:
        return parent if recorder is None else recorder.tree.child(parent, key)


def _enter_slow(scope: Scope) -> None:
    """First use of a thread, first use of a scope, or a failure inside the hot path."""
    global _lost_errors
    try:
        st = state()
        if st.in_task or (scope.outer is not None and st.top is not scope):
            _enter_cell(scope, st)
            return
        if st.top is not scope:
            outer = st.top
            scope.node = _child(outer.node, scope.key)
            scope.outer = outer
            scope.buried = False
            st.top = scope
        left = scope.outer.node.id if scope.outer is not None else 0
        st.announce(scope.node, left, ACTIVATION)
    except Exception as error:
        if is_foreign(error):
            _exit_slow(scope)
            raise
        _lost_errors += 1
    except BaseException:
        _exit_slow(scope)
        raise


def _enter_cell(scope: Scope, st: ThreadState) -> Scope:
    """Enters through a fresh object: in tasks, and where `scope` is active already."""
    cell = _new(scope.key)
    try:
        scope.cells.append(cell)
    except AttributeError:
        scope.cells = [cell]
    if st.in_task:
        tasks.enter(cell, st, _child)
    else:
        cell.__enter__()
    return scope


def _exit_slow(scope: Scope) -> None:
    """An exit that is not the innermost of this thread, or a failure inside the hot path."""
    global _lost_errors
    try:
        st = state()
        target = _pick_cell(scope, st)
        if getattr(target, "node", None) is None:
            return  # was never entered
        left = target.node.id
        if target is scope and scope.outer is None:  # ended already, or the hot path failed late
            st.announce(tasks.position(st).node, left)
            return
        if not (tasks.leave(target, st) if st.in_task else _unlink(target, st)):
            _bury(target)
            st.announce(tasks.position(st).node, left)
    except Exception as error:
        if is_foreign(error):
            raise
        _lost_errors += 1


def _pick_cell(scope: Scope, st: ThreadState) -> Scope:
    """Which activation of a shared object ends: the innermost of this thread or task."""
    cells = getattr(scope, "cells", None)
    if not cells:
        return scope
    inner: Optional[Scope] = tasks.position(st)
    while inner is not None and inner is not scope:
        if inner in cells:
            cells.remove(inner)
            return inner
        inner = inner.outer
    return scope if inner is scope else cells.pop()


def _unlink(target: Scope, st: ThreadState) -> bool:
    """Takes `target` out by identity; False when this thread did not enter it."""
    left = st.top.node.id
    if st.top is target:
        assert target.outer is not None
        st.top = target.outer
    else:
        inner: Optional[Scope] = st.top
        while inner is not None and inner.outer is not target:
            inner = inner.outer
        if inner is None:
            return False
        inner.outer = target.outer
    target.outer = None
    st.announce(st.top.node, left)
    return True


def _bury(target: Scope) -> None:
    """Ends an activation that another thread or task entered (a generator may do that).

    Its owner's list is not touched from here: until the owner drops the entry itself, the entry
    stands for its enclosing scope.
    """
    if target.outer is not None:
        target.node = target.outer.node
    elif target.node.parent is not None:  # outermost of its task
        target.node = target.node.parent
    target.buried = True


def _use(local: threading.local) -> None:
    global _local
    _local = local
    if native is not None:
        native.use(local)


def lost_errors() -> int:
    """How many entries and exits failed since the run began: bugs, or an exhausted process."""
    return _lost_errors


def start(recorder: Recorder) -> None:
    """From now on scopes are recorded there."""
    global _recorder, _lost_errors
    _lost_errors = 0
    _recorder = recorder
    _use(threading.local())


def stop() -> None:
    """From now on scopes go nowhere, those that are still open included."""
    global _recorder
    _recorder = None
    _use(threading.local())


def after_fork(recorder: Recorder) -> None:
    """In a forked child: the forking thread keeps its place and forgets the parent's lane."""
    global _recorder
    st = getattr(_local, "st", None)
    _recorder = recorder
    _use(threading.local())
    if st is not None:
        st.attach(recorder.pool)
        _local.st = st
