"""Layers of torch modules as scopes: `run.watch`.

Emits a scope for each call of a watched module, and one for its part of the backward pass (see
backward.py). Owns the process's module hooks while anything is watched: they are torch's global
ones, so that nothing of ours is in a module, its copies and its pickles. Never imports torch: who
has a module has torch. Whatever goes wrong in here is the program's only where a signal handler of
its own raised it.
"""

import inspect
import sys
import threading
import warnings
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Union

from . import scope as scopes
from .backward import Marks
from .cuda_streams import Span
from .foreign import is_foreign
from .layout import ACTIVATION
from .modules import Layer, Only, Selection
from .names import clean_level, text_of
from .noop import NoWatch, warn_once
from .scope import Scope
from .tree import MAX_SCOPES, Key, Node, Tree

if TYPE_CHECKING:
    from .cuda_times import CudaTimes
    from .link import Link

# torch says so where somebody calls what torch.compile returned; for our hooks it does not matter.
_FIRES_TWICE = r"Using `torch\.compile\(module\)` when there are global hooks"


class Call:
    """One call of a watched module that has not returned."""

    __slots__ = ("layer", "scope", "placed", "node", "first", "frame", "span", "calls_others")

    def __init__(
        self, layer: Layer, scope: Scope, placed: bool, node: Node, first: int, frame: FrameType,
        span: Optional[Span],
    ) -> None:  # fmt: skip
        self.layer = layer
        self.scope = scope
        self.placed = placed  # by `scope.place`, not entered
        self.node = node
        self.first = first  # number of the first autograd node that it can have made
        self.frame = frame  # torch's, which runs for as long as the call does
        self.span = span  # where it is timed on a GPU
        self.calls_others = False  # watched ones


class Watch:
    """What `run.watch` returns: the modules are watched until `remove`, or the end of a block."""

    def __init__(self, watcher: "Watcher", layers: List[Layer], timed: bool) -> None:
        self._watcher = watcher
        self._layers = layers
        self._timed = timed

    def remove(self) -> None:
        """The modules are watched no more, unless somebody else watches them too."""
        layers, self._layers = self._layers, []
        self._watcher.release(layers, self._timed)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, exc_type: Any, exc: Any, traceback: Any) -> None:
        self.remove()

    def __reduce__(self) -> Any:
        """A copy, as of a module that keeps its own handle, watches nothing."""
        return NoWatch, ()


class _Local(threading.local):
    """What one thread is in."""

    def __init__(self) -> None:
        self.calls: List[Call] = []


class Watcher:
    """The watched modules of a run."""

    def __init__(self, tree: Tree, on_lost: Callable[[], None], link: "Callable[[], Link]") -> None:
        """Raises LookupError where torch is missing or too old; says what it lacks."""
        self._tree = tree
        self._on_lost = on_lost
        self._link = link
        self._times: "Optional[CudaTimes]" = None
        self._layers: Dict[int, Layer] = {}
        self._local = _Local()
        self._hooks: List[Any] = []
        self._torch: Any = sys.modules.get("torch")
        self._modules: Any = sys.modules.get("torch.nn.modules.module")
        if self._torch is None or self._modules is None:
            raise LookupError("torch is not imported")
        knows = inspect.signature(self._modules.register_module_forward_hook).parameters
        if "always_call" not in knows:
            raise LookupError("torch %s has no hooks that are always called" % self._torch.__version__)
        self._options = {name: True for name in ("always_call", "with_kwargs") if name in knows}
        self._marks = Marks(self._torch, self.failed)

    def watch(
        self, module: Any, name: object, level: object, depth: Optional[int], only: Optional[Only],
        cuda: bool,
    ) -> "Union[Watch, NoWatch]":  # fmt: skip
        if not isinstance(module, self._modules.Module):
            warn_once("watch", "run.watch(%s): not a torch module", type(module).__name__)
            return NoWatch()
        title = type(module).__name__ if name is None else text_of(name)
        room = MAX_SCOPES - len(self._tree.nodes)
        try:
            selection = Selection(module, title, depth, only, room, self._modules.Module)
        except Exception as error:  # modules that torch cannot list; what `only` raises goes on
            if is_foreign(error, "torch"):
                raise
            warn_once("watch", "run.watch(%s): %r", type(module).__name__, error)
            return NoWatch()
        if selection.left_out:
            warn_once(
                "watch-room", "run.watch: %d of %d modules are not watched: a process has %d scopes at most; "
                "depth= or only= says which", selection.left_out, selection.found, MAX_SCOPES,
            )  # fmt: skip
        layers = []
        timed = bool(cuda) and self._can_time()
        word = clean_level(level)
        for part in selection.parts:
            layer = self._layers.get(id(part.module))
            if layer is None or layer.module() is not part.module:
                layer = Layer(part.module, part.names, selection.root, title, word, self._forget)
                self._layers[layer.ident] = layer
            layer.holders += 1
            layer.timers += timed
            layers.append(layer)
        self._install()
        return Watch(self, layers, timed)

    def _can_time(self) -> bool:
        if self._times is None:
            from .cuda_times import CudaTimes  # nobody else needs it

            try:
                self._times = self._marks.times = CudaTimes(self._torch, self._link, self._on_lost)
            except LookupError as error:
                warn_once("cuda", "run.watch(cuda=True) records no GPU times: %s", error)
        return self._times is not None

    def release(self, layers: List[Layer], timed: bool) -> None:
        for layer in layers:
            layer.holders -= 1
            layer.timers -= timed
            if layer.holders == 0 and self._layers.get(layer.ident) is layer:
                del self._layers[layer.ident]
        if not self._layers:
            self.close()

    def close(self) -> None:
        """Takes all hooks away; what the calling thread is in of ours, it leaves."""
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook.remove()
            for flags in ("_global_forward_hooks_always_called", "_global_forward_hooks_with_kwargs"):
                vars(self._modules).get(flags, {}).pop(hook.id, None)  # torch 2.15 leaves them
        self._layers.clear()
        self._marks.close()
        if self._times is not None:
            self._times.stop()
        self._leave_from(self._local.calls, 0)

    def after_fork(self) -> None:
        """In a forked child."""
        if self._times is not None:
            self._times.after_fork()

    def _forget(self, layer: Layer) -> None:
        """Its module is gone."""
        if self._layers.get(layer.ident) is layer:
            del self._layers[layer.ident]

    # Hooks

    def _install(self) -> None:
        if self._hooks or not self._layers:
            return
        self._marks.open()
        enter, leave, failed, compiling = self._enter, self._leave, self.failed, self._marks.compiling

        # What torch.compile makes of a module has none of this: these lines are part of what it reads.
        def before(module: Any, args: Any) -> None:
            if compiling():
                return
            try:
                enter(module, args, sys._getframe(1))
            except Exception as error:
                failed(error)

        def after(module: Any, args: Any, *rest: Any) -> None:  # [kwargs,] output: None after an exception
            if compiling():
                return
            try:
                leave(module, rest, args)
            except Exception as error:
                failed(error)

        warnings.filterwarnings("ignore", _FIRES_TWICE, UserWarning)
        modules = self._modules
        self._hooks = [
            modules.register_module_forward_pre_hook(before),
            modules.register_module_forward_hook(after, **self._options),
        ]

    def failed(self, error: Exception) -> None:
        """A mistake of ours, of torch's or of a tensor's class is counted; the program's goes on."""
        if is_foreign(error, "torch"):
            raise error
        self._on_lost()

    def _enter(self, module: Any, args: Any, frame: FrameType) -> None:
        layer = self._layers.get(id(module))
        if layer is None or layer.module() is not module:
            return
        calls = self._local.calls
        outer = scopes.position()
        # Recomputed in a backward pass: where it was the first time, whoever needs it now.
        placed = self._marks.is_stay(outer) and layer.home is not None
        if placed:
            node: Node = layer.home  # type: ignore[assignment]
            opened = scopes.place(node, ACTIVATION)
        else:
            key = layer.keys.get(outer.node)
            if key is None:
                key = self._new_key(layer, calls)
            opened = scopes.again(key)
        span: Optional[Span] = None
        try:
            if not placed:
                opened.__enter__()
                try:
                    node = opened.node
                except AttributeError:  # in a task: another object is entered for it
                    node = scopes.current()
                layer.home = node
            if calls:
                calls[-1].calls_others = True
            if layer.timers and self._times is not None:
                span = Span()
                self._times.begin(span, node, args, module)
            calls.append(Call(layer, opened, placed, node, self._marks.next_number(), frame, span))
        except BaseException:  # a signal handler's: the call will not be
            self._end(opened, placed, span)
            raise

    def _new_key(self, layer: Layer, calls: List[Call]) -> Key:
        """The scope's name depends on who calls the module."""
        self._leave_from(calls, _running(calls))
        caller = calls[-1].layer if calls else None
        key = self._tree.key(layer.level, layer.name_in(caller))
        layer.keys[scopes.current()] = key
        return key

    def _leave(self, module: Any, results: Any, args: Any) -> None:
        calls, ident = self._local.calls, id(module)
        at = len(calls) - 1
        while at >= 0 and calls[at].layer.ident != ident:
            at -= 1
        if at < 0:
            return
        try:
            span = calls[at].span
            if span is not None and self._times is not None:
                self._times.end(span)
            if results[-1] is not None:
                self._marks.mark(calls, at, results + args)
        finally:
            self._leave_from(calls, at)

    def _leave_from(self, calls: List[Call], at: int) -> None:
        while len(calls) > at:
            call = calls[-1]
            self._end(call.scope, call.placed, call.span)
            calls.pop()

    def _end(self, scope: Scope, placed: bool, span: Optional[Span]) -> None:
        try:
            if span is not None and self._times is not None:
                self._times.drop(span)  # nothing, where it was ended in time
        finally:
            if placed:
                scopes.leave(scope)
            else:
                scope.__exit__(None, None, None)


def _running(calls: List[Call]) -> int:
    """How many of these calls go on. KeyboardInterrupt and the like end them without a word."""
    frames = set()
    frame: Optional[FrameType] = sys._getframe(1) if calls else None
    while frame is not None:
        frames.add(id(frame))
        frame = frame.f_back
    count = 0
    while count < len(calls) and id(calls[count].frame) in frames:
        count += 1
    return count
