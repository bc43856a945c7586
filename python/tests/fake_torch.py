"""What of torch run.watch uses, with GPUs whose clock a test sets by hand: no torch is needed.

A Gpu does each stream's work in order, streams beside each other. `work` is what a kernel would be.
Modules, their global hooks and a backward pass are as little as watch.py and backward.py need. What
must never be called, or not now, is in `wrong`: the client would swallow an exception alone.
"""

import contextlib
import threading
import types

# What is raised from here counts as raised by torch.
__package__ = "torch.cuda"


class Stream:
    def __init__(self, gpu, handle):
        self.gpu, self.cuda_stream = gpu, handle
        self.end_ns = 0  # when the GPU has done all that it was given
        self.capturing = False

    def work(self, ns):
        if not self.capturing:
            with self.gpu.torch.lock:
                self.end_ns = max(self.end_ns, self.gpu.torch.now_ns) + ns

    def synchronize(self):
        self.gpu.torch.refuse("synchronized")


class Gpu:
    def __init__(self, torch, index):
        self.torch, self.index = torch, index
        self.streams = [Stream(self, 0)]  # of each GPU, the default one has the handle 0
        self.current = self.streams[0]
        self.uuid = "00000000-0000-4000-8000-%012d" % index
        self.name = "NVIDIA H100 80GB HBM3"

    def new_stream(self):
        self.streams.append(Stream(self, 7000 + len(self.streams)))
        return self.streams[-1]


class Event:
    """Bound to its world by FakeTorch."""

    torch = None

    def __init__(self, enable_timing=False):
        assert enable_timing
        self.at_ns, self.gpu = None, None
        self.torch.events.append(self)

    def record(self, stream=None):
        self.torch.fail("record")
        if stream is None or stream.capturing:
            self.torch.refuse("recorded in a capture, or who knows where")
        if self.torch.current_gpu is not stream.gpu or self.gpu not in (None, stream.gpu):
            self.torch.refuse("recorded on another GPU")
        self.gpu = stream.gpu
        with self.torch.lock:
            self.at_ns = max(stream.end_ns, self.torch.now_ns)
        self.torch.records += 1

    def query(self):
        self.torch.fail("query")
        if any(stream.capturing for gpu in self.torch.gpus for stream in gpu.streams):
            self.torch.refuse("queried in a capture")
        return self.at_ns is None or self.at_ns <= self.torch.now_ns

    def elapsed_time(self, end):
        if not (self.query() and end.query()) or self.at_ns is None or end.at_ns is None:
            self.torch.refuse("asked for a time that is not over")
        return (end.at_ns - self.at_ns) / 1e6

    def synchronize(self):
        self.torch.refuse("synchronized")


class Tensor:
    """On a GPU, or on the CPU (None)."""

    def __init__(self, gpu=None, grad_fn=None):
        self.gpu, self.grad_fn = gpu, grad_fn

    @property
    def is_cuda(self):
        return self.gpu is not None

    def get_device(self):
        return -1 if self.gpu is None else self.gpu.index


class Operation:
    """A node of autograd's graph. `work_ns`: what its backward gives the GPU to do."""

    def __init__(self, torch, gpu, work_ns, below):
        self.torch, self.gpu, self.work_ns = torch, gpu, work_ns
        self.metadata, self.hooks = {}, []
        self.next_functions = tuple((node, 0) for node in below)
        self.number = torch.numbers
        torch.numbers += 1

    def _sequence_nr(self):
        return self.number

    def register_prehook(self, hook):
        self.hooks.append(hook)


class FakeTorch:
    """The module. `cuda` and the others are its parts; what a test sets by hand has no underscore."""

    __version__ = "2.15.0"

    def __init__(self, gpus=1):
        self.lock = threading.RLock()
        self.now_ns = 1_000_000  # of every GPU
        self.events, self.records, self.numbers = [], 0, 0
        self.failing = {}  # what is to be raised, by the name of a call
        self.wrong = []
        self.initialized = True
        self.gpus = [Gpu(self, index) for index in range(gpus)]
        self.current_gpu = self.gpus[0] if gpus else None
        self.version = types.SimpleNamespace(cuda="13.2")
        self.Tensor = Tensor
        self._task, self._callbacks = -1, []
        engine = types.SimpleNamespace(queue_callback=lambda call: self._callbacks.append(call))
        self.autograd = types.SimpleNamespace(Variable=types.SimpleNamespace(_execution_engine=engine))
        self.compiler = types.SimpleNamespace(is_compiling=lambda: False)
        self._C = types.SimpleNamespace(
            DisableTorchFunctionSubclass=contextlib.nullcontext,
            _current_graph_task_id=lambda: self._task,
            _autograd=types.SimpleNamespace(_get_sequence_nr=lambda: self.numbers),
        )
        self.cuda = types.SimpleNamespace(
            Event=type("Event", (Event,), {"torch": self}),
            is_initialized=lambda: self.initialized,
            device_count=lambda: self.fail("device_count") or len(self.gpus),
            current_device=lambda: self.fail("current_device") or self.current_gpu.index,
            current_stream=lambda gpu: self.gpus[gpu].current,
            is_current_stream_capturing=lambda: self.current_gpu.current.capturing,
            get_device_properties=self._properties,
            device=self.on,
            synchronize=lambda: self.refuse("synchronized"),
        )
        self.modules = Modules(self)

    def fail(self, call):
        if call in self.failing:
            raise self.failing[call]

    def refuse(self, why):
        self.wrong.append(why)
        raise AssertionError(why)

    def _properties(self, index):
        gpu = self.gpus[index]
        known = {"name": gpu.name} if gpu.uuid is None else {"name": gpu.name, "uuid": gpu.uuid}
        return types.SimpleNamespace(**known)

    @contextlib.contextmanager
    def on(self, index):
        """As torch.cuda.device."""
        before, self.current_gpu = self.current_gpu, self.gpus[index]
        try:
            yield
        finally:
            self.current_gpu = before

    @contextlib.contextmanager
    def in_stream(self, stream):
        """As torch.cuda.stream."""
        before, stream.gpu.current = stream.gpu.current, stream
        with self.on(stream.gpu.index):
            try:
                yield
            finally:
                stream.gpu.current = before

    def catch_up(self):
        """The GPUs do all that they were given."""
        with self.lock:
            self.now_ns = max([self.now_ns] + [stream.end_ns for gpu in self.gpus for stream in gpu.streams])

    def backward(self, tensor):
        """As tensor.backward(), on this thread, the newest operation first."""
        nodes, queue = set(), [tensor.grad_fn]
        while queue:
            node = queue.pop()
            if node not in nodes:
                nodes.add(node)
                queue.extend(below for below, _ in node.next_functions)
        before = self._task, self._callbacks
        self._task, self._callbacks = before[0] + 1, []
        try:
            for node in sorted(nodes, key=Operation._sequence_nr, reverse=True):
                for hook in node.hooks:
                    hook((Tensor(node.gpu),))
                if node.gpu is not None:
                    node.gpu.current.work(node.work_ns)
            for call in self._callbacks:
                call()
        finally:
            self._task, self._callbacks = before

    def installed(self):
        """What is in sys.modules while this is torch."""
        return {"torch": self, "torch.nn.modules.module": self.modules}


class Modules:
    """torch.nn.modules.module: Module and the global hooks."""

    def __init__(self, torch):
        self.before, self.after = [], []
        modules = self

        class Module:
            def __init__(self):
                self._modules, self._parameters = {}, {}

            def forward(self, *args):
                raise NotImplementedError

            def add(self, name, part):
                self._modules[name] = part
                return part

            def named_modules(self, memo=None, prefix="", remove_duplicate=True):
                yield prefix, self
                for name, part in self._modules.items():
                    yield from part.named_modules(None, prefix + "." * bool(prefix) + name)

            def __call__(self, *args, **kwargs):
                for hook in list(modules.before):
                    hook(self, args)
                result = None
                try:
                    result = self.forward(*args, **kwargs)
                except Exception:
                    for hook in list(modules.after):
                        hook(self, args, kwargs, None)
                    raise
                for hook in list(modules.after):
                    hook(self, args, kwargs, result)
                return result

        class Work(Module):
            """Gives its GPU work before and after its parts; backward takes twice as long."""

            def __init__(self, gpu, ns, *parts, after_ns=0, inside=None):
                super().__init__()
                self.gpu, self.ns, self.after_ns, self.inside = gpu, ns, after_ns, inside
                for index, part in enumerate(parts):
                    self.add(str(index), part)

            def forward(self, x):
                x = self._do(x, self.ns)
                for part in list(self._modules.values()):
                    x = part(x)
                if self.inside is not None:
                    self.inside()
                return self._do(x, self.after_ns) if self.after_ns else x

            def _do(self, x, ns):
                if self.gpu is not None:
                    self.gpu.current.work(ns)
                below = [] if x.grad_fn is None else [x.grad_fn]
                return Tensor(self.gpu, Operation(torch, self.gpu, 2 * ns, below))

        self.Module, self.Work = Module, Work

    def _register(self, hooks, hook):
        hooks.append(hook)
        return types.SimpleNamespace(id=id(hook), remove=lambda: hooks.remove(hook))

    def register_module_forward_pre_hook(self, hook):
        return self._register(self.before, hook)

    def register_module_forward_hook(self, hook, *, with_kwargs=False, always_call=False):
        assert with_kwargs and always_call
        return self._register(self.after, hook)
