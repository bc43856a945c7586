"""GPU time of watched calls, by timing events that are read once the GPU has come past them.

Emits ring records of kind 1. Owns the events, a bounded number. They are read with `query` only,
which waits for nothing, and by threads that give a GPU work: the query of a thread in the background
would break a graph that is captured meanwhile. While its own stream is captured a thread records and
reads nothing. What fails ends the timing, with a warning.
"""

import contextlib
import threading
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Optional, Set, Tuple

from . import layout
from . import scope as scopes
from .cuda_devices import NOWHERE, gpu_of, uuid_of
from .cuda_streams import Span, Stream
from .foreign import is_foreign
from .noop import warn_once
from .tree import Node

if TYPE_CHECKING:
    from .link import Link

MAX_EVENTS = 4096  # of a process; while all of them wait for the GPU, calls are not timed
MAX_STREAMS = 64
HARVEST_INTERVAL_NS = 10_000_000  # how often events are read
HARVEST_MAX = 64  # of one stream at once; the rest follows with the next event
LOCK_SECONDS = 1.0  # a signal handler may wait for a thread that waits for what it interrupted

_AS_IT_IS = contextlib.nullcontext()
_inherited: List[Any] = []  # a parent process's events, which cannot be destroyed here


class CudaTimes:
    """The timed calls of a run. Any thread may call it; only what a signal handler raises goes on.

    Spans are made by the caller, who ends or drops them whatever `begin` does.
    """

    def __init__(self, torch: Any, link: "Callable[[], Link]", on_lost: Callable[[], None]) -> None:
        """Raises LookupError where nothing can be timed; says why."""
        self.nodes: Set[Node] = set()  # the scopes that are timed
        self._torch = torch
        self._cuda = torch.cuda
        self._link = link
        self._on_lost = on_lost
        self._off = False
        self._begin_anew()
        if not getattr(torch.version, "cuda", None):
            raise LookupError("torch %s is built without CUDA" % torch.__version__)
        try:
            gpus = self._cuda.device_count()
        except Exception as error:  # a driver that does not answer
            raise LookupError("torch: %s" % error) from None
        if gpus == 0:
            raise LookupError("torch finds no GPU")

    def _begin_anew(self) -> None:
        self._streams: Dict[Tuple[int, int], Stream] = {}  # by GPU and CUDA's own handle
        self._devices: Dict[int, Optional[int]] = {}  # indices of the session's, by torch's
        self._free: Dict[int, List[Any]] = {}  # events, by GPU
        self._made = 0  # events
        self._due = 0  # CLOCK_MONOTONIC ns from which on events are read again
        self._busy = False
        self._torn = False
        # Re-entrant: a signal handler may call watched modules. Those calls are not timed.
        self._lock = threading.RLock()

    def after_fork(self) -> None:
        """In a forked child, where nothing of the parent's CUDA may be touched."""
        _inherited.append((self._streams, self._free))
        for stream in self._streams.values():
            stream.leave_all()
        self._begin_anew()

    def begin(self, span: Span, node: Node, values: Iterable[Any], module: Any = None) -> None:
        """The calling thread works for `node`, on the GPU where the tensors among `values` are."""
        if not self._off:
            self.nodes.add(node)
            self._alone(self._begin, span, node, values, module)

    def arrive(self, span: Span, owner: Optional[Node], gradients: Iterable[Any]) -> None:
        """A backward pass comes to what `owner` has made; None: what is of no layer."""
        node = owner if owner in self.nodes else None
        if span.stream is None:
            if node is not None:
                self.begin(span, node, gradients)
        elif span.node is not node and not self._alone(self._move, span, node):
            span.node = None

    def end(self, span: Span) -> None:
        if span.stream is not None and not self._alone(self._end, span):
            span.node = None

    def drop(self, span: Span) -> None:
        """Ends a span of which nobody knows when it was over."""
        if span.stream is not None and not self._alone(self._drop, span):
            span.node = None

    def stop(self) -> None:
        """Reads what the GPU has come past; what it has not will not be known."""
        self._alone(self._stop)

    # From here on: one thread at a time.

    def _alone(self, work: Callable[..., None], *values: Any) -> bool:
        """Whether it was done."""
        if self._off:
            return False
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            self._end_timing("a thread was stopped while it recorded an event")
            return False
        try:
            if self._busy:  # in what interrupted it: a signal handler, a destructor
                self._torn = True
                return False
            self._busy = True
            try:
                work(*values)
            except BaseException as error:
                self._torn = True
                if not isinstance(error, Exception) or is_foreign(error, "torch"):
                    raise
                self._end_timing("%s: %s" % (type(error).__name__, error))
            finally:
                if self._torn:
                    self._lose_track()
                self._busy = self._torn = False
        finally:
            self._lock.release()
        return True

    def _end_timing(self, why: str) -> None:
        self._off = True
        self._on_lost()
        warn_once("cuda-off", "from now on no GPU times are recorded: %s", why)

    def _lose_track(self) -> None:
        for stream in self._streams.values():
            stream.lose_track()

    def _begin(self, span: Span, node: Node, values: Iterable[Any], module: Any) -> None:
        gpu = gpu_of(self._torch, values, module)
        if gpu == NOWHERE or not self._cuda.is_initialized() or self._device(gpu) is None:
            return
        with self._on(gpu):
            self._work_for(node, span, self._current(gpu))

    def _move(self, span: Span, node: Optional[Node]) -> None:
        stream = span.stream
        if stream is None:
            return
        with self._on(stream.gpu):
            current = self._current(stream.gpu)
            if current is not stream:
                self._drop(span)
            self._work_for(node, span, current)

    def _work_for(self, node: Optional[Node], span: Span, stream: Optional[Stream]) -> None:
        span.node = node
        if stream is not None:
            if not stream.has(span):
                stream.enter(span)
            self._change(stream)

    def _end(self, span: Span) -> None:
        stream = span.stream
        if stream is None:
            return
        with self._on(stream.gpu):
            if self._current(stream.gpu) is stream:
                stream.leave(span)
                self._change(stream)
            else:
                self._drop(span)

    def _drop(self, span: Span) -> None:
        stream = span.stream
        if stream is not None:
            stream.leave(span)
            stream.lose_track()

    def _stop(self) -> None:
        if self._streams and self._cuda.is_initialized() and not self._cuda.is_current_stream_capturing():
            for stream in self._streams.values():
                with self._on(stream.gpu):
                    while self._harvest(stream):
                        pass
        for stream in self._streams.values():
            stream.leave_all()
        self._lose_track()

    def _on(self, gpu: int) -> Any:
        """The GPU as the current one; where that is another, it may have no context, and gets none."""
        return _AS_IT_IS if self._cuda.current_device() == gpu else self._cuda.device(gpu)

    def _device(self, gpu: int) -> Optional[int]:
        """Its index in the session; None: the agent cannot be told of it."""
        if gpu in self._devices:
            return self._devices[gpu]
        uuid = uuid_of(self._cuda, gpu)
        device = self._devices[gpu] = None if uuid is None else self._link().use_device(uuid)
        self._due = monotonic_ns() + HARVEST_INTERVAL_NS  # the agent hears of it before it reads of it
        if uuid is None:
            version = self._torch.__version__
            warn_once("cuda-uuid", "no GPU times are recorded: torch %s tells no GPU's UUID", version)
        elif device is None:
            warn_once("cuda-many", "no GPU times of %s are recorded: it is one GPU too many", uuid)
        return device

    def _current(self, gpu: int) -> Optional[Stream]:
        """The current stream of the current GPU; None: it is captured, or one too many."""
        if self._cuda.is_current_stream_capturing():
            return None
        handle = self._cuda.current_stream(gpu)
        key = (gpu, handle.cuda_stream)
        stream = self._streams.get(key)
        if stream is None and len(self._streams) < MAX_STREAMS:
            device = self._device(gpu)
            if device is not None:
                stream = self._streams[key] = Stream(gpu, device, handle)
        return stream

    def _change(self, stream: Stream) -> None:
        """Its work is of its innermost span from here on."""
        node = stream.innermost()
        if node is stream.node:
            return
        if monotonic_ns() >= self._due:
            self._harvest_all()
        event = self._event(stream.gpu)
        if event is not None:
            event.record(stream.handle)
            stream.change(event, node)
            return
        stream.lose_track()
        self._on_lost()
        warn_once("cuda-events", "%d timing events wait for the GPU: not every call is timed", MAX_EVENTS)

    def _event(self, gpu: int) -> Any:
        free = self._free.setdefault(gpu, [])
        if not free and self._made >= MAX_EVENTS:
            self._harvest_all()
        if free:
            return free.pop()
        if self._made >= MAX_EVENTS:
            return None
        self._made += 1
        return self._cuda.Event(enable_timing=True)

    def _harvest_all(self) -> None:
        more = [self._harvest(stream) for stream in self._streams.values()]
        self._due = 0 if any(more) else monotonic_ns() + HARVEST_INTERVAL_NS

    def _harvest(self, stream: Stream) -> bool:
        """Whether it is worth going on."""
        if not self._link().devices_told:
            return False
        times, more = stream.harvest(HARVEST_MAX, self._free.setdefault(stream.gpu, []))
        st = scopes.state()
        for node, ns in times.items():
            if ns > 0:
                kind_flags = layout.KIND_GPU | stream.device << layout.DEVICE_SHIFT
                st.write(monotonic_ns(), ns, node.id, kind_flags)
        return more
