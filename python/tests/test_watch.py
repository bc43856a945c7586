"""run.watch: layers of real torch modules as scopes. Without torch all of it is skipped."""

import asyncio
import copy
import dataclasses
import gc
import io
import pickle
import threading
import unittest
import warnings
import weakref

import types
from unittest import mock

from lezea_monitor import backward, cuda_times, noop

from .fake_torch import FakeTorch
from .helpers import AgentTest, child_environment, python

try:
    import torch
    from torch import nn
    from torch.utils.checkpoint import checkpoint
except ImportError:
    torch = None

OUT = ("", 0)


def block():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


if torch is not None:

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(4)
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return x + self.inner(self.norm(x))

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.down(nn.functional.silu(self.gate(x)).neg() * self.up(x))

    class Fails(nn.Module):
        def __init__(self, error):
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.error = error

        def forward(self, x):
            x = self.inner(x)
            if self.error is not None:
                raise self.error
            return x

    @dataclasses.dataclass
    class Output:
        hidden: object
        extra: object = None

    class Shapes(nn.Module):
        """Gives its result in a container of any kind."""

        def __init__(self, wrap):
            super().__init__()
            self.wrap = wrap

        def forward(self, x):
            return self.wrap(x * 2)

    class FailsBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            raise OSError("backward fails")


@unittest.skipIf(torch is None, "no torch: pip install torch")
class WatchTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.run_ = self.start()

    def steps(self):
        """Where this thread was, one after another: names alone, as a.b.c; "" outside."""
        paths = [path.replace("layer:", "") for path, _ in self.mine()]
        return [path for i, path in enumerate(paths) if i == 0 or paths[i - 1] != path]

    def entered(self):
        return [path.replace("layer:", "") for path, activation in self.mine() if activation]

    def test_forward_and_backward(self):
        model = block()
        with self.run_.watch(model, "net"):
            output = model(torch.randn(2, 4))
            self.assertEqual(self.entered(), ["net", "net/0", "net/1", "net/2"])
            before = len(self.steps())
            output.sum().backward()
        self.assertEqual(self.steps()[before:], ["net/2", "net/1", "net/0", ""])
        self.assertEqual(len(self.entered()), 4, "the backward pass is no activation")
        self.assertEqual(self.run_.dropped, 0)

    def test_results_are_the_same(self):
        def train(watched):
            torch.manual_seed(1)
            model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True), 2)
            handle = self.run_.watch(model) if watched else noop.NoWatch()
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            for _ in range(3):
                loss = model(torch.randn(2, 5, 8)).pow(2).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                last = model(torch.randn(2, 5, 8))
            handle.remove()
            return [last, *model.state_dict().values()]

        for watched, alone in zip(train(True), train(False)):
            self.assertTrue(torch.equal(watched, alone))
        self.assertEqual(self.mine()[-1], OUT)

    def test_own_operations_of_a_caller(self):
        model = nn.Sequential(Residual(), Residual())
        with self.run_.watch(model, "net"):
            output = model(torch.randn(2, 4, requires_grad=True))
            before = len(self.steps())
            output.sum().backward()
        self.assertEqual(self.steps()[before:], [
            "net/1", "net/1/inner", "net/1/norm", "net/0", "net/0/inner", "net/0/norm", ""
        ])  # fmt: skip

    def test_own_operations_on_both_sides_of_a_part(self):
        model = Gated()
        with self.run_.watch(model, "net"):
            output = model(torch.randn(2, 4))
            before = len(self.steps())
            output.sum().backward()
        self.assertEqual(
            self.steps()[before:], ["net/down", "net", "net/up", "net", "net/gate", ""]
        )

    def test_arguments_by_name(self):
        class Named(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = Residual(), Shapes(lambda x: x)

            def forward(self, *, value):
                return self.second(x=self.first(x=value).neg())

        model = Named()
        with self.run_.watch(model, "net"):
            output = model(value=torch.randn(2, 4))
            before = len(self.steps())
            output.sum().backward()
        self.assertEqual(
            self.steps()[before:],
            ["net/second", "net", "net/first", "net/first/inner", "net/first/norm", ""],
        )

    def test_below_the_program_own_scopes(self):
        model = block()
        self.run_.watch(model, level="module")
        with self.run_.network("policy"):
            output = model(torch.ones(1, 4))
        paths = [path for path, _ in self.mine()]
        self.assertIn("network:policy/module:Sequential/module:0", paths)
        with self.run_.scope("phase", "backward"):
            output.sum().backward()
        back = [path for path, _ in self.mine()][len(paths) :]
        self.assertEqual(back[:2], ["phase:backward", "network:policy/module:Sequential/module:2"])
        self.assertEqual(back[-2:], ["phase:backward", ""])

    def test_names_of_nested_shared_and_direct_calls(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList([block(), block()])
                self.also = self.blocks[0]
                self.tied = self.blocks[0][0]

            def forward(self, x):
                for part in self.blocks:
                    x = part(x)
                return self.tied(x)

        model = Model()
        self.run_.watch(model)
        with torch.no_grad():
            model(torch.ones(1, 4))
            model.blocks[1][0](torch.ones(1, 4))
        names = self.entered()
        self.assertEqual(names[:3], ["Model", "Model/blocks.0", "Model/blocks.0/0"])
        self.assertIn("Model/blocks.1/2", names)
        self.assertEqual(names[-2:], ["Model/blocks.0.0", "blocks.1.0"])

    def test_called_more_than_once(self):
        shared = nn.Linear(4, 4)
        with self.run_.watch(shared, "shared"):
            shared(shared(torch.ones(1, 4))).sum().backward()
        self.assertEqual(self.entered(), ["shared", "shared"])
        self.assertEqual(self.steps(), ["shared", "", "shared", "", "shared", ""])

    def test_no_grad_and_inference(self):
        model = block()
        self.run_.watch(model, "net")
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                self.assertIsNone(model(torch.ones(1, 4)).grad_fn)
        self.assertEqual(len(self.entered()), 8)
        self.assertEqual(self.steps()[-1], "")

    def test_frozen_parts(self):
        model = block()
        for parameter in model[0].parameters():
            parameter.requires_grad_(False)
        with self.run_.watch(model, "net"):
            output = model(torch.ones(1, 4))
            before = len(self.steps())
            output.sum().backward()
        self.assertEqual(self.steps()[before:], ["net/2", ""])

    def test_in_place_operations_and_views(self):
        class InPlace(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(4, 4), nn.ReLU(inplace=True)

            def forward(self, x):
                x = self.b(self.a(x)) + 0
                x[:, :2] *= 2
                return x.view(-1)

        model = InPlace()
        self.run_.watch(model, "net")
        output = model(torch.ones(2, 4))
        self.assertEqual(output.shape, (8,))
        output.sum().backward()
        self.assertIsNotNone(model.a.weight.grad)
        self.assertEqual(self.steps()[-4:], ["net", "net/b", "net/a", ""])
        model(torch.ones(2, 4)).add_(1).sum().backward()  # a view's node is another afterwards
        self.assertEqual(self.steps()[-3:], ["net/b", "net/a", ""])

    def test_results_of_any_shape(self):
        for wrap in (
            lambda x: x, lambda x: (x, None), lambda x: [x], lambda x: {"a": {"b": x}},
            lambda x: Output(hidden=x),
        ):  # fmt: skip
            model = Shapes(wrap)
            with self.run_.watch(model, "net"):
                value = torch.ones(2, requires_grad=True)
                output = model(value)
                before = len(self.steps())
                (found,) = backward._tensors([output], torch.Tensor)
                found.sum().backward()
                self.assertEqual(self.steps()[before:], ["net", ""])
        nothing = Shapes(lambda x: None)
        with self.run_.watch(nothing, "none"):
            self.assertIsNone(nothing(torch.ones(1)))
        self.assertEqual(self.steps()[-2:], ["none", ""])

    def test_an_exception_in_forward(self):
        model = nn.Sequential(Fails(ValueError("kept")))
        self.run_.watch(model, "net")
        for _ in range(2):
            with self.assertRaisesRegex(ValueError, "kept"):
                model(torch.ones(1, 4))
            self.assertEqual(self.mine()[-1], OUT)
        self.assertEqual(self.run_.dropped, 0)

    def test_an_interrupted_forward_is_over_at_the_next_call(self):
        inner = Fails(KeyboardInterrupt())
        model = nn.Sequential(inner)
        self.run_.watch(model, "net")
        for _ in range(2):
            with self.assertRaises(KeyboardInterrupt):
                model(torch.ones(1, 4))
        inner.error = None
        model(torch.ones(1, 4))
        self.assertEqual(self.mine()[-1], OUT)
        self.assertEqual(set(self.entered()), {"net", "net/0", "net/0/inner"})

    def test_an_exception_in_backward(self):
        model = block()
        self.run_.watch(model, "net")
        with self.assertRaisesRegex(OSError, "backward fails"):
            model(FailsBackward.apply(torch.ones(1, 4, requires_grad=True))).sum().backward()
        self.assertEqual(self.mine()[-1], OUT)

    def test_checkpoints(self):
        for reentrant in (True, False):
            with self.subTest(reentrant=reentrant):
                parts = nn.ModuleList([block(), block()])

                class Model(nn.Module):
                    def __init__(self):
                        super().__init__()
                        self.parts = parts
                        self.head = nn.Linear(4, 4)

                    def forward(self, x):
                        for part in self.parts:
                            x = checkpoint(part, x, use_reentrant=reentrant)
                        return self.head(x)

                model = Model()
                with self.run_.watch(model, "net%d" % reentrant):
                    output = model(torch.ones(1, 4, requires_grad=True))
                    before, entered = len(self.steps()), len(self.entered())
                    output.sum().backward()
                top = "net%d" % reentrant
                again = self.entered()[entered:]
                self.assertIn(top + "/parts.1/0", again)
                self.assertTrue(all(name.startswith(top + "/parts.") for name in again), again)
                self.assertLessEqual({len(name.split("/")) for name in again}, {2, 3})
                self.assertEqual(self.steps()[before], top + "/head")
                self.assertEqual(self.steps()[-1], "")
                for part in parts:
                    self.assertIsNotNone(part[0].weight.grad)

    def test_a_checkpoint_in_a_task(self):
        for reentrant in (True, False):
            part = block()
            model = Shapes(lambda x: checkpoint(part, x, use_reentrant=reentrant))
            model.part = part

            async def work():
                output = model(torch.ones(1, 4, requires_grad=True))
                await asyncio.sleep(0)
                output.sum().backward()
                self.assertEqual(self.mine()[-1][0], "")
                await asyncio.sleep(0)

            with self.run_.watch(model, "net%d" % reentrant):
                before = len(self.entered())
                asyncio.run(work())
            names = [name[5:] for name in self.entered()[before:]]
            self.assertEqual(names[:5], ["", "part", "part/0", "part/1", "part/2"])
            self.assertEqual(names[5:8], ["part", "part/0", "part/1"])
            self.assertEqual(self.mine()[-1], OUT)

    def test_double_backward_and_autograd_grad(self):
        model = block()
        self.run_.watch(model, "net")
        value = torch.ones(1, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(model(value).pow(2).sum(), value, create_graph=True)
        slope.pow(2).sum().backward()
        self.assertIsNotNone(model[0].weight.grad)
        self.assertEqual(self.mine()[-1], OUT)

    def test_backward_inside_of_a_layer(self):
        class Learns(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Linear(4, 4)

            def forward(self, x):
                with torch.enable_grad():
                    self.inner(x).sum().backward()
                return x

        model = Learns()
        self.run_.watch(model, "net")
        model(torch.ones(1, 4))
        self.assertEqual(
            self.steps(), ["net", "net/inner", "net", "net/inner", "net", ""]
        )

    def test_backward_in_another_thread(self):
        model = block()
        self.run_.watch(model, "net")
        loss = model(torch.ones(1, 4)).sum()
        numbers = []

        def work():
            numbers.append(threading.get_native_id())
            loss.backward()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        paths = [path for path, _ in self.agent.switches(numbers[0])]
        self.assertIn("layer:net/layer:1", paths)
        self.assertEqual(paths[-1], "")

    def test_threads_and_tasks(self):
        model = block()
        self.run_.watch(model, "net")
        threads = [
            threading.Thread(target=lambda: model(torch.ones(1, 4)).sum().backward())
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        async def work(name):
            with self.run_.tasker(name):
                output = model(torch.ones(1, 4))
                await asyncio.sleep(0)
                output.sum().backward()
                await asyncio.sleep(0)

        async def both():
            await asyncio.gather(work("a"), work("b"))
            model(torch.ones(1, 4)).sum().backward()

        asyncio.run(both())
        paths = {path for path, _ in self.mine()}
        for name in "ab":
            self.assertIn("tasker:%s/layer:net/layer:2" % name, paths)
        self.assertFalse([path for path in paths if path.count("tasker") > 1])
        self.assertEqual(self.mine()[-1], OUT)

    def test_remove(self):
        model = block()
        first, second = self.run_.watch(model, "net"), self.run_.watch(model, "other")
        first.remove()
        first.remove()
        model(torch.ones(1, 4))
        self.assertEqual(self.entered()[0], "net")
        second.remove()
        count = len(self.mine())
        model(torch.ones(1, 4)).sum().backward()
        self.assertEqual(len(self.mine()), count)
        self.assertFalse(nn.modules.module._has_any_global_hook())

    def test_removed_between_forward_and_backward_and_inside(self):
        model = block()
        handle = self.run_.watch(model)
        loss = model(torch.ones(1, 4)).sum()
        handle.remove()
        count = len(self.mine())
        loss.backward()
        self.assertEqual(len(self.mine()), count)
        handle = self.run_.watch(model)
        model[1].register_forward_hook(lambda *_: handle.remove())
        model(torch.ones(1, 4)).sum().backward()
        self.assertEqual(self.mine()[-1], OUT)

    def test_the_end_of_the_run(self):
        model = block()
        self.run_.watch(model)
        loss = model(torch.ones(1, 4)).sum()
        self.run_.end()
        loss.backward()
        self.assertFalse(nn.modules.module._has_any_global_hook())
        other = self.start()
        with other.watch(model, "again"):
            model(torch.ones(1, 4)).sum().backward()
        self.assertIn("layer:again/layer:2", [path for path, _ in self.mine()])

    def test_copies_and_pickles_have_nothing_of_it(self):
        model = block()
        model.handle = self.run_.watch(model, "net")
        before = len(self.entered())
        copied = copy.deepcopy(model)
        loaded = pickle.loads(pickle.dumps(model))
        saved = io.BytesIO()
        torch.save(model, saved)
        saved.seek(0)
        read = torch.load(saved, weights_only=False)
        for other in (copied, loaded, read):
            other(torch.ones(1, 4)).sum().backward()
            other.handle.remove()
        self.assertEqual(len(self.entered()), before)
        del model.handle
        self.assertNotIn(b"lezea", pickle.dumps(model))

    def test_a_module_that_is_gone(self):
        model = block()
        self.run_.watch(model)
        model(torch.ones(1, 4)).sum().backward()
        gone = weakref.ref(model)
        del model
        gc.collect()
        self.assertIsNone(gone())
        self.assertEqual(self.run_._watcher._layers, {})

    def test_graphs_are_not_kept_alive(self):
        model = block()
        self.run_.watch(model)
        output = model(torch.ones(1, 4))
        gone = weakref.ref(output)
        output.sum().backward()
        del output
        self.assertIsNone(gone())

    def test_depth_and_only(self):
        model = nn.Sequential(block(), block())
        with self.run_.watch(model, "net", depth=1):
            model(torch.ones(1, 4))
        self.assertEqual(self.entered(), ["net", "net/0", "net/1"])
        with self.run_.watch(model, "net", only=lambda name, part: isinstance(part, nn.Linear)):
            model(torch.ones(1, 4))
        self.assertEqual(self.entered()[3:], ["0.0", "0.2", "1.0", "1.2"])

    def test_more_modules_than_scopes(self):
        model = nn.Sequential(*(nn.Sequential(nn.Identity()) for _ in range(6000)))
        with self.assertLogs("lezea_monitor", "WARNING") as logs:
            self.run_.watch(model, "net")
            self.run_.watch(model, "net")
        self.assertEqual(len(logs.output), 1)
        self.assertIn("2001 of 12001 modules", logs.output[0])

    def test_what_is_no_module(self):
        with self.assertLogs("lezea_monitor", "WARNING"):
            with self.run_.watch(object()) as handle:
                handle.remove()

    def test_containers_and_odd_modules(self):
        class Odd(nn.Module):
            def __eq__(self, other):
                raise ValueError("no")

            __hash__ = nn.Module.__hash__

            def forward(self, x):
                return x

        model = nn.ModuleList([Odd()])
        model.append(nn.Linear(2, 2))
        self.run_.watch(model, "list")
        model[1](model[0](torch.ones(1, 2))).sum().backward()
        self.assertEqual(self.entered(), ["0", "1"])

    def test_modules_that_torch_cannot_list(self):
        class Unhashable(nn.Module):
            __hash__ = None

        with self.assertLogs("lezea_monitor", "WARNING"):
            self.run_.watch(nn.Sequential(Unhashable())).remove()

    def test_tensors_with_code_of_their_own(self):
        asked = []

        class Loud(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None):
                asked.append(function)
                return super().__torch_function__(function, types, args, kwargs or {})

        model = block()
        value = torch.ones(1, 4).as_subclass(Loud)

        def count():
            asked.clear()
            model(value).sum().backward()
            return len(asked)

        alone = count()
        with self.run_.watch(model):
            self.assertEqual(count(), alone)

    def test_compile_script_trace_and_fx(self):
        model = block()
        value = torch.ones(1, 4)
        expected = model(value)
        with self.run_.watch(model, "net"), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
            self.assertTrue(torch.allclose(compiled(value), expected))
            compiled(value).sum().backward()
            compiled = copy.deepcopy(model)
            compiled.compile(backend="eager", fullgraph=True)
            self.assertTrue(torch.allclose(compiled(value), expected))
            self.assertTrue(torch.allclose(torch.jit.script(model)(value), expected))
            self.assertTrue(torch.allclose(torch.jit.trace(model, value)(value), expected))
            self.assertTrue(torch.allclose(torch.fx.symbolic_trace(model)(value), expected))
            self.assertTrue(torch.allclose(torch.export.export(model, (value,)).module()(value), expected))
        self.assertEqual(self.mine()[-1], OUT)
        self.assertEqual(self.run_.dropped, 0)

    def test_functional_transforms(self):
        model = block()
        self.run_.watch(model, "net")
        parameters = dict(model.named_parameters())

        def loss(values, x):
            return torch.func.functional_call(model, values, (x,)).sum()

        slopes = torch.func.grad(loss)(parameters, torch.ones(1, 4))
        each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, torch.ones(3, 1, 4))
        self.assertEqual(set(slopes), set(each))
        self.assertEqual(self.mine()[-1], OUT)

    def test_what_a_signal_handler_of_the_program_raises_goes_on(self):
        model = block()
        self.run_.watch(model, "net")

        def late():
            raise TimeoutError("the program's")

        marks = self.run_._watcher._marks
        marks.next_number, number = late, marks.next_number
        with self.assertRaisesRegex(TimeoutError, "the program's"):
            model(torch.ones(1, 4))
        marks.next_number = number
        self.assertEqual(self.mine()[-1], OUT)
        self.assertEqual(self.run_.dropped, 0)

    def test_what_fails_is_counted(self):
        model = block()
        self.run_.watch(model, "net")
        marks = self.run_._watcher._marks
        number = marks.next_number
        marks.next_number = lambda: torch.nn.functional.relu(None)
        expected = model(torch.ones(1, 4))
        marks.next_number = number
        self.assertEqual(self.run_.dropped, 4)
        self.assertEqual(self.mine()[-1], OUT)
        self.assertTrue(torch.equal(model(torch.ones(1, 4)), expected))


@unittest.skipIf(torch is None, "no torch: pip install torch")
class CudaTest(AgentTest):
    """Real modules and a real backward pass; what they give a GPU to do, a fake one does."""

    def setUp(self):
        super().setUp()
        self.run_ = self.start()

    def gpu(self):
        """All is on this GPU from now on."""
        fake = FakeTorch()
        shown = types.SimpleNamespace(cuda=fake.cuda, version=fake.version, __version__="2.15.0")
        for patch in (
            mock.patch.object(cuda_times, "gpu_of", lambda *_: 0),
            mock.patch.object(cuda_times, "HARVEST_INTERVAL_NS", 0),
            mock.patch.object(cuda_times.CudaTimes, "__init__", _shown(cuda_times.CudaTimes.__init__, shown)),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.addCleanup(lambda: self.assertEqual(fake.wrong, []))

        class Work(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, ns):
                ctx.ns = ns
                ctx.save_for_backward(x)
                fake.gpus[0].current.work(ns)
                return x * 1

            @staticmethod
            def backward(ctx, gradient):
                fake.gpus[0].current.work(2 * ctx.ns)
                return gradient * torch.ones_like(ctx.saved_tensors[0]), None

        class Layer(nn.Module):
            def __init__(self, ns, *parts, checkpointed=None):
                super().__init__()
                self.ns, self.parts, self.checkpointed = ns, nn.ModuleList(parts), checkpointed

            def forward(self, x):
                x = Work.apply(x, self.ns)
                for part in self.parts:
                    x = part(x) if self.checkpointed is None else checkpoint(part, x, use_reentrant=self.checkpointed)
                return x

        return fake, Layer

    def catch_up(self, fake):
        self.agent.wait(lambda: self.run_._link.devices_told)
        fake.catch_up()

    def times(self):
        found = {}
        ring = self.agent.rings[0]
        for record in ring.records():
            if record.kind == 1:
                path = self.agent.path_of(ring.session, record.scope).replace("layer:", "")
                found[path] = found.get(path, 0) + record.value
        return found

    def test_forward_and_backward(self):
        fake, Layer = self.gpu()
        model = Layer(1000, Layer(2000), Layer(4000))
        with self.run_.watch(model, "net", cuda=True):
            for _ in range(3):
                loss = model(torch.ones(2, requires_grad=True)).sum()
                fake.gpus[0].current.work(50_000)
                loss.backward()
                fake.gpus[0].current.work(50_000)
                self.catch_up(fake)
        self.assertEqual(self.times(), {"net": 9000, "net/parts.0": 18_000, "net/parts.1": 36_000})
        self.assertEqual(self.run_.dropped, 0)

    def check_checkpoints(self, reentrant):
        fake, Layer = self.gpu()
        model = Layer(1000, Layer(2000, Layer(4000)), checkpointed=reentrant)
        with self.run_.watch(model, "net", cuda=True):
            model(torch.ones(2, requires_grad=True)).sum().backward()
            self.catch_up(fake)
        part = "net/parts.0"  # computed twice, and backward
        self.assertEqual(self.times(), {"net": 3000, part: 8000, part + "/parts.0": 16_000})

    def test_checkpoints(self):
        self.check_checkpoints(False)

    def test_reentrant_checkpoints(self):
        self.check_checkpoints(True)

    def test_a_pass_that_fails(self):
        fake, Layer = self.gpu()
        model = Layer(1000, Shapes(FailsBackward.apply), Layer(2000))
        with self.run_.watch(model, "net", cuda=True):
            with self.assertRaises(OSError):
                model(torch.ones(2, requires_grad=True)).sum().backward()
            fake.gpus[0].current.work(50_000)
            model(torch.ones(2))
            self.catch_up(fake)
        self.assertEqual(self.times(), {"net": 2000, "net/parts.1": 8000})

    @unittest.skipIf(torch is not None and torch.cuda.is_available(), "there is a GPU")
    def test_without_a_gpu(self):
        model = block()
        with self.assertLogs("lezea_monitor", "WARNING") as logs:
            with self.run_.watch(model, "net", cuda=True), self.run_.watch(model, "again", cuda=True):
                model(torch.ones(1, 4)).sum().backward()
        self.assertEqual(len(logs.output), 1)
        self.assertIn("cuda=True", logs.output[0])
        paths = [path.replace("layer:", "") for path, activation in self.mine() if activation]
        self.assertEqual(paths, ["net", "net/0", "net/1", "net/2"])
        self.assertEqual((self.run_.dropped, self.times()), (0, {}))


def _shown(make, instead):
    """A constructor that is shown this torch."""
    return lambda self, torch, *others: make(self, instead, *others)


class WithoutTorchTest(AgentTest):
    def test_the_package_never_imports_torch(self):
        import subprocess

        code = (
            "import sys, lezea_monitor as lm; run = lm.start_run(); run.watch(object()).remove(); run.end();"
            "assert 'torch' not in sys.modules"
        )
        done = subprocess.run(python(code), env=child_environment(), capture_output=True, timeout=60, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("torch is not imported", done.stderr)

    def test_without_an_agent(self):
        with noop.NoRun().watch(object(), "x", depth=1) as handle:
            self.assertIsNone(handle.remove())

    def test_without_an_agent_the_arguments_are_the_same(self):
        import inspect

        from lezea_monitor.run import Run

        own = list(inspect.signature(Run.watch).parameters.values())
        self.assertEqual(own, list(inspect.signature(noop.NoRun.watch).parameters.values()))
