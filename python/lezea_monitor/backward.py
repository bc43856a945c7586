"""The backward pass of watched modules: which layer's part of autograd's graph is at work.

Reads the graph that a module's call has made; emits a switch whenever autograd comes to another
layer's part. Autograd runs a graph's nodes from the newest to the oldest, so a node says for all
until the next one that says something: a mark is set on the node of each tensor that goes into a
module or comes out, and on what a call made before it called another module and used after, for
the layer whose call made it. Marks change no gradient and no tensor, and
keep neither alive. A pass leaves what it entered at its end, however it ends.
"""

import itertools
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional

from . import scope as scopes
from .cuda_streams import Span
from .scope import Scope
from .tree import Node

if TYPE_CHECKING:
    from .cuda_times import CudaTimes
    from .watch import Call

MARK = "lezea_monitor"  # key in a node's metadata
MAX_TENSORS = 64  # of one call's arguments and results
MAX_NESTING = 6  # of what they are in
MAX_OWN_NODES = 64  # of a call's own operations between two modules that it calls


class _Stay:
    """Where one backward pass has put its thread."""

    __slots__ = ("task", "scope", "base", "span")

    def __init__(self, task: int, scope: Scope, base: Node) -> None:
        self.task = task  # autograd's number of the pass
        self.scope = scope
        self.base = base  # where backward() was called
        self.span = Span()  # this thread's part of the pass on a GPU


class _End:
    """Autograd calls it when a pass is done, and drops it when the pass is over otherwise."""

    __slots__ = ("_stays", "_stay", "_marks")

    def __init__(self, stays: List[_Stay], stay: _Stay, marks: "Marks") -> None:
        self._stays = stays
        self._stay: Optional[_Stay] = stay
        self._marks = marks

    def __call__(self) -> None:
        stay, self._stay = self._stay, None
        try:
            if stay is not None and stay in self._stays:
                self._stays.remove(stay)
                self._marks.leave(stay)
        except Exception as error:
            self._marks.failed(error)

    __del__ = __call__


class _Local(threading.local):
    def __init__(self) -> None:
        self.stays: List[_Stay] = []


class Marks:
    """Marks of a run in the graphs of its modules."""

    def __init__(self, torch: Any, failed: Callable[[Exception], None]) -> None:
        """Raises LookupError where this torch has no way to ask for what is needed."""
        self.failed = failed
        self.times: "Optional[CudaTimes]" = None  # where some layers are timed on their GPU
        self._local = _Local()
        self._open = False
        self._arrivals: Dict[Optional[Node], Callable[[Any], None]] = {}
        try:
            self.compiling: Callable[[], bool] = torch.compiler.is_compiling
            self.next_number: Callable[[], int] = torch._C._autograd._get_sequence_nr
            self._task: Callable[[], int] = torch._C._current_graph_task_id
            self._at_end = torch.autograd.Variable._execution_engine.queue_callback
            self._Tensor = torch.Tensor
            self._plain = torch._C.DisableTorchFunctionSubclass
        except AttributeError as error:
            raise LookupError("torch %s: %s" % (torch.__version__, error)) from None

    def open(self) -> None:
        self._open = True

    def close(self) -> None:
        """From now on marks do nothing; a pass that goes on ends as it would."""
        self._open = False

    def is_stay(self, scope: Scope) -> bool:
        """Whether a backward pass has put the thread there."""
        stays = self._local.stays
        return bool(stays) and stays[-1].scope is scope

    def mark(self, calls: "List[Call]", at: int, values: Any) -> None:
        """Marks the tensors of the call `calls[at]`: its results and its arguments."""
        for tensor in _tensors(values, self._Tensor):
            if type(tensor) is self._Tensor:
                node = tensor.grad_fn
            else:  # no code of a tensor's own class
                with self._plain():
                    node = tensor.grad_fn
            if node is not None and MARK not in node.metadata:
                self._mark_node(node, calls, at)

    def _mark_node(self, node: Any, calls: "List[Call]", at: int) -> None:
        number = node._sequence_nr()
        while at >= 0 and calls[at].first > number:
            at -= 1
        owner = calls[at].node if at >= 0 else None
        self._set(node, owner)
        if at >= 0 and calls[at].calls_others:
            for before in _after_others(node, number, calls[at].first):
                self._set(before, owner)

    def _set(self, node: Any, owner: Optional[Node]) -> None:
        node.metadata[MARK] = True
        arrival = self._arrivals.get(owner)
        if arrival is None:
            arrival = self._arrivals[owner] = self._arrival(owner)
        node.register_prehook(arrival)

    def _arrival(self, owner: Optional[Node]) -> Callable[[Any], None]:
        arrive, failed, compiling = self._arrive, self.failed, self.compiling

        def before(gradients: Any) -> None:
            if compiling():
                return
            try:
                arrive(owner, gradients)
            except Exception as error:
                failed(error)

        return before

    def _arrive(self, owner: Optional[Node], gradients: Any) -> None:
        """A pass comes to what `owner` has made; None: what is of no layer."""
        if not self._open:
            return
        stays, task = self._local.stays, self._task()
        if not stays or stays[-1].task != task:
            if owner is None:
                return
            base = scopes.current()
            stay = _Stay(task, scopes.place(owner), base)
            stays.append(stay)
            self._at_end(_End(stays, stay, self))
        else:
            stay = stays[-1]
            scopes.move(stay.scope, stay.base if owner is None else owner)
        if self.times is not None:
            self.times.arrive(stay.span, owner, gradients)

    def leave(self, stay: _Stay) -> None:
        """The pass is over."""
        try:
            if self.times is not None:
                self.times.end(stay.span)
        finally:
            scopes.leave(stay.scope)


def _after_others(node: Any, number: int, first: int) -> List[Any]:
    """The nodes of the same call below `node` that autograd comes to after those of a module that
    the call has called in between: what the call did before that, for use afterwards.
    """
    own: Dict[int, Any] = {}
    others: List[int] = []
    queue = [node]
    while queue and len(own) < MAX_OWN_NODES:
        for below, _ in queue.pop().next_functions:
            age = -1 if below is None else below._sequence_nr()
            if age < first or age >= number or age in own:
                continue  # of before the call; or a weight's, which has the highest number
            if MARK in below.metadata:
                others.append(age)
            else:
                own[age] = below
                queue.append(below)
    found = []
    for age in sorted(own, reverse=True):
        if any(age < other < number for other in others):
            found.append(own[age])
        number = age
    return found


def _tensors(values: Any, tensor: Any) -> List[Any]:
    """The tensors in a call's arguments and results: in lists, tuples, dicts and dataclasses."""
    found: List[Any] = []
    layer = list(values)
    for _ in range(MAX_NESTING):
        deeper: List[Any] = []
        for value in layer:
            if isinstance(value, tensor):
                found.append(value)
            elif value is not None and len(deeper) < MAX_TENSORS:
                deeper.extend(_inside(value))
        if not deeper or len(found) >= MAX_TENSORS:
            break
        layer = deeper
    return found[:MAX_TENSORS]


def _inside(value: Any) -> Iterator[Any]:
    """Without any code of the container's own class."""
    if isinstance(value, tuple):
        items = tuple.__iter__(value)
    elif isinstance(value, list):
        items = list.__iter__(value)
    elif isinstance(value, dict):
        items = iter(dict.values(value))
    elif hasattr(type(value), "__dataclass_fields__"):
        items = iter(list(vars(value).values()))
    else:
        return iter(())
    return itertools.islice(items, MAX_TENSORS)
