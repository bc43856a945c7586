"""run.watch(cuda=True) with GPUs of fake_torch.py: which GPU time comes into the ring, and for whom.

Expected times are what the test gave the GPU to do in each scope.
"""

import os
import sys
import threading
import unittest
from unittest import mock

from lezea_monitor import cuda_streams, cuda_times

from .fake_torch import FakeTorch, Tensor
from .helpers import AgentTest
from .test_fork import in_child

MS = 1_000_000


class CudaTest(AgentTest):
    gpus = 1

    def setUp(self):
        super().setUp()
        self.torch = FakeTorch(self.gpus)
        self.replace(mock.patch.dict(sys.modules, self.torch.installed()))
        self.replace(mock.patch.object(cuda_times, "HARVEST_INTERVAL_NS", 0))
        self.run_ = self.start()
        self.gpu = self.torch.gpus[0] if self.gpus else None
        self.Work = self.torch.modules.Work
        self.addCleanup(lambda: self.assertEqual(self.torch.wrong, []))

    def replace(self, patch):
        patch.start()
        self.addCleanup(patch.stop)

    def input(self, gpu=None):
        return Tensor(gpu or self.gpu)

    def catch_up(self):
        """The GPU does all that it was given, and the agent knows that GPU."""
        self.agent.wait(lambda: self.run_._link.devices_told)
        self.torch.catch_up()

    def block(self):
        """1 ms before its parts of 2 and 4 ms, and 8 ms after them; twice that backward."""
        return self.Work(self.gpu, 1 * MS, self.Work(self.gpu, 2 * MS), self.Work(self.gpu, 4 * MS), after_ns=8 * MS)

    def records(self):
        rings = {ring.inode: ring for ring in self.agent.rings}.values()
        return [(ring, record) for ring in rings for record in ring.records() if record.kind == 1]

    def times(self, device=0):
        """ns by path, without the level."""
        found = {}
        for ring, record in self.records():
            if record.device == device:
                path = self.agent.path_of(ring.session, record.scope).replace("layer:", "")
                found[path] = found.get(path, 0) + record.value
        return found

    def end(self):
        """The run's; what it reads last is in the ring."""
        self.run_.end()
        return self.times()


class TimesTest(CudaTest):
    def test_each_scope_has_its_own_time(self):
        model = self.block()
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.gpu.current.work(100 * MS)  # of nobody
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 18 * MS, "net/0": 4 * MS, "net/1": 8 * MS})
        self.assertEqual(self.run_.dropped, 0)

    def test_forward_and_backward(self):
        model = self.block()
        with self.run_.watch(model, "net", cuda=True):
            for _ in range(3):
                output = model(self.input())
                self.gpu.current.work(100 * MS)  # the loss
                self.torch.backward(output)
                self.gpu.current.work(100 * MS)  # the optimizer
                self.catch_up()
        self.assertEqual(self.times(), {"net": 81 * MS, "net/0": 18 * MS, "net/1": 36 * MS})
        self.assertEqual([path for path, _ in self.mine()][-1], "")

    def test_a_backward_pass_of_its_own_thread(self):
        model = self.block()
        with self.run_.watch(model, "net", cuda=True):
            output = model(self.input())
            thread = threading.Thread(target=self.torch.backward, args=(output,))
            thread.start()
            thread.join()
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 36 * MS, "net/0": 8 * MS, "net/1": 16 * MS})

    def test_a_backward_pass_inside_of_a_layer_is_not_counted_twice(self):
        inner = self.block()

        def back():
            output = inner(self.input())
            thread = threading.Thread(target=self.torch.backward, args=(output,))
            thread.start()
            thread.join()

        outer = self.Work(self.gpu, 1 * MS, after_ns=2 * MS, inside=back)
        with self.run_.watch(outer, "outer", cuda=True), self.run_.watch(inner, "inner", cuda=True):
            outer(self.input())
            self.catch_up()
        times = self.times()
        self.assertEqual(sum(times.values()), 48 * MS)
        self.assertEqual(times["outer"], 3 * MS)
        self.assertEqual(times["outer/inner"], 27 * MS)

    def test_what_is_not_watched_with_cuda_counts_on_what_is_around_it(self):
        model = self.block()
        with self.run_.watch(model, "net", cuda=True, depth=0), self.run_.watch(model, "net"):
            output = model(self.input())
            self.torch.backward(output)
            self.catch_up()
        # Backward nothing is around them, and what comes after the call of "1" is before that of "net".
        self.assertEqual(self.times(), {"net": 15 * MS + 18 * MS})

    def test_watched_again(self):
        model = self.Work(self.gpu, 1 * MS)
        for _ in range(2):
            with self.run_.watch(model, "net", cuda=True):
                model(self.input())
                self.catch_up()
            model(self.input())
        self.assertEqual(self.times(), {"net": 2 * MS})

    def test_without_cuda_torch_cuda_is_not_touched(self):
        del self.torch.cuda
        model = self.block()
        with self.run_.watch(model, "net"):
            self.torch.backward(model(self.input()))
        self.assertEqual((self.times(), self.run_.dropped), ({}, 0))

    def test_the_record(self):
        model = self.Work(self.gpu, 3 * MS)
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.catch_up()
        ((ring, record),) = self.records()
        self.assertEqual((record.value, record.device, record.flags), (3 * MS, 0, 0))
        self.assertEqual(record.tid, threading.get_native_id())
        self.assertEqual(self.agent.path_of(ring.session, record.scope), "layer:net")
        switches = [one.t for one in ring.records() if one.kind == 0]
        self.assertGreaterEqual(record.t, max(switches))
        self.assertEqual(self.mine(), [("layer:net", 1), ("", 0)], "the thread is where it was")

    def test_an_exception_in_forward(self):
        def fail():
            raise OSError("forward fails")

        model = self.Work(self.gpu, 1 * MS, self.Work(self.gpu, 2 * MS, inside=fail), after_ns=4 * MS)
        with self.run_.watch(model, "net", cuda=True):
            with self.assertRaises(OSError):
                model(self.input())
            self.gpu.current.work(100 * MS)
            self.catch_up()
        self.assertEqual(self.times(), {"net": 1 * MS, "net/0": 2 * MS})

    def test_an_interrupted_call_is_not_timed_until_the_next_one(self):
        def interrupt():
            raise KeyboardInterrupt

        part = self.Work(self.gpu, 2 * MS, inside=interrupt)
        model = self.Work(self.gpu, 1 * MS, part)
        with self.run_.watch(model, "net", cuda=True):
            with self.assertRaises(KeyboardInterrupt):
                model(self.input())
            self.gpu.current.work(100 * MS)  # nobody knows that "net/0" was over before that
            part.inside = None
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 2 * MS, "net/0": 2 * MS})

    def test_threads_in_one_stream(self):
        first, second = self.Work(self.gpu, 1 * MS), self.Work(self.gpu, 2 * MS)
        inside, over = threading.Event(), threading.Event()
        first.inside = lambda: (inside.set(), over.wait(10))
        with self.run_.watch(first, "a", cuda=True), self.run_.watch(second, "b", cuda=True):
            thread = threading.Thread(target=first, args=(self.input(),))
            thread.start()
            inside.wait(10)
            second.inside = lambda: (over.set(), thread.join(10), self.gpu.current.work(4 * MS))
            second(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"a": 1 * MS, "b": 6 * MS})

    def test_many_threads_in_one_stream(self):
        """Whose work is whose nobody can tell then, but none counts twice, and none is left out."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)
        models = [self.block() for _ in range(4)]
        rounds = 50
        begin = threading.Barrier(len(models))

        def work(model):
            begin.wait(10)
            for _ in range(rounds):
                model(self.input())
                self.torch.catch_up()

        outer = self.Work(self.gpu, 0)
        outer.inside = lambda: ([one.start() for one in threads], [one.join() for one in threads])
        with self.run_.watch(outer, "outer", cuda=True):
            for number, model in enumerate(models):
                self.run_.watch(model, str(number), cuda=True)
            threads = [threading.Thread(target=work, args=(model,)) for model in models]
            outer(self.input())
            self.catch_up()
            self.run_._watcher._times.stop()
        self.assertEqual(sum(self.times().values()), len(models) * rounds * 15 * MS)
        self.assertEqual(self.run_.dropped, 0)

    def test_streams_are_timed_apart(self):
        side = self.gpu.new_stream()
        part = self.Work(self.gpu, 2 * MS)
        model = self.Work(self.gpu, 1 * MS, after_ns=4 * MS)

        def in_side():
            with self.torch.in_stream(side):
                part(self.input())

        model.inside = in_side
        with self.run_.watch(model, "net", cuda=True), self.run_.watch(part, "part", cuda=True):
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 5 * MS, "net/part": 2 * MS})

    def test_a_backward_pass_in_two_streams(self):
        """As autograd does: each operation in the stream of its forward."""
        side = self.gpu.new_stream()
        first, second = self.Work(self.gpu, 1 * MS), self.Work(self.gpu, 2 * MS)
        with self.run_.watch(first, "a", cuda=True), self.run_.watch(second, "b", cuda=True):
            with self.torch.in_stream(side):
                middle = first(self.input())
            output = second(middle)
            middle.grad_fn.hooks.insert(0, lambda gradients: setattr(self.gpu, "current", side))
            self.torch.backward(output)
            self.gpu.current = self.gpu.streams[0]
            self.gpu.current.work(100 * MS)
            second(self.input())
            self.catch_up()
        # When the first stream was done with the backward part of "b", nobody knows.
        self.assertEqual(self.times(), {"a": 3 * MS, "b": 4 * MS})

    def test_a_call_that_changes_the_stream_is_not_timed(self):
        side = self.gpu.new_stream()
        model = self.Work(self.gpu, 1 * MS, inside=lambda: setattr(self.gpu, "current", side))
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            model.inside = None
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 1 * MS})

    def test_a_signal_handler_in_the_middle(self):
        """Of recording: what it calls is not timed, and what it interrupted is unknown, not wrong."""
        model, other = self.Work(self.gpu, 1 * MS), self.Work(self.gpu, 50 * MS)
        with self.run_.watch(model, "net", cuda=True), self.run_.watch(other, "other", cuda=True):
            fail = self.torch.fail

            def handler(call):
                if call == "record":
                    self.torch.fail = fail
                    other(self.input())

            self.torch.fail = handler
            model(self.input())
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 1 * MS})

    def test_what_a_signal_handler_raises_goes_on(self):
        model = self.block()
        with self.run_.watch(model, "net", cuda=True):

            def handler(call):
                self.torch.fail = lambda call: None
                raises_timeout()

            self.torch.fail = handler
            with self.assertRaises(TimeoutError):
                model(self.input())
            self.gpu.current.work(100 * MS)
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 9 * MS, "net/0": 2 * MS, "net/1": 4 * MS})
        self.assertEqual(self.mine()[-1], ("", 0))


def raises_timeout():
    raise TimeoutError("the program's")


class HarvestTest(CudaTest):
    def test_nothing_is_read_before_the_gpu_is_there(self):
        model = self.Work(self.gpu, 1 * MS)
        with self.run_.watch(model, "net", cuda=True):
            for _ in range(10):
                model(self.input())
            self.agent.wait(lambda: self.run_._link.devices_told)
            self.torch.now_ns += 7 * MS // 2  # three and a half of ten
            model(self.input())
            self.assertEqual(self.times(), {"net": 3 * MS})
            self.catch_up()
        self.assertEqual(self.times(), {"net": 11 * MS})

    def test_one_stream_does_not_wait_for_another(self):
        side = self.gpu.new_stream()
        slow, quick = self.Work(self.gpu, 1000 * MS), self.Work(self.gpu, 1 * MS)
        with self.run_.watch(slow, "slow", cuda=True), self.run_.watch(quick, "quick", cuda=True):
            with self.torch.in_stream(side):
                slow(self.input())
            quick(self.input())
            self.agent.wait(lambda: self.run_._link.devices_told)
            self.torch.now_ns += 2 * MS
            quick(self.input())
            self.assertEqual(self.times(), {"quick": 1 * MS})

    def test_events_are_used_again(self):
        model = self.block()
        with self.run_.watch(model, "net", cuda=True):
            for _ in range(100):
                model(self.input())
                self.catch_up()
        self.assertLess(len(self.torch.events), 20)
        self.assertGreater(self.torch.records, 400)
        self.assertEqual(self.times()["net/1"], 400 * MS)

    def test_more_events_than_there_may_be(self):
        self.replace(mock.patch.object(cuda_times, "MAX_EVENTS", 8))
        model = self.Work(self.gpu, 1 * MS)
        with self.run_.watch(model, "net", cuda=True):
            with self.assertLogs("lezea_monitor", "WARNING") as logs:
                for _ in range(50):
                    model(self.input())
            self.assertEqual(len(logs.output), 1)
            self.assertIn("8 timing events wait for the GPU", logs.output[0])
            self.assertEqual(len(self.torch.events), 8)
            self.assertEqual(self.run_.dropped, 46)
            self.catch_up()
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 5 * MS})

    def test_how_often_and_how_many(self):
        """A run of calls reads nothing within the interval, and 64 edges at once after it."""
        self.replace(mock.patch.object(cuda_times, "HARVEST_INTERVAL_NS", 3_600_000_000_000))
        model = self.Work(self.gpu, 1 * MS)
        with self.run_.watch(model, "net", cuda=True):
            for _ in range(100):
                model(self.input())
                self.catch_up()
            self.assertEqual(self.times(), {})
            self.run_._watcher._times._due = 0
            model(self.input())
            self.assertEqual(self.times(), {"net": 64 * MS})
        self.catch_up()

    def test_the_end_of_the_run(self):
        model = self.Work(self.gpu, 1 * MS)
        self.replace(mock.patch.object(cuda_times, "HARVEST_INTERVAL_NS", 3_600_000_000_000))
        self.run_.watch(model, "net", cuda=True)
        for _ in range(100):
            model(self.input())
        self.catch_up()
        model(self.input())  # the GPU is not there when the run ends
        self.assertEqual(self.end(), {"net": 100 * MS})

    def test_never_imported_without_need(self):
        loaded = "lezea_monitor.cuda_times"
        self.replace(mock.patch.dict(sys.modules))
        sys.modules.pop(loaded)
        with self.run_.watch(self.block(), "net"):
            self.assertNotIn(loaded, sys.modules)


class CaptureTest(CudaTest):
    def test_nothing_is_recorded_or_read_while_a_graph_is_captured(self):
        model = self.block()
        side = self.gpu.new_stream()
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.catch_up()
            before = self.torch.records
            with self.torch.in_stream(side):
                side.capturing = True
                self.torch.backward(model(self.input()))
                side.capturing = False
            self.assertEqual(self.torch.records, before)
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 18 * MS, "net/0": 4 * MS, "net/1": 8 * MS})

    def test_a_capture_inside_of_a_call(self):
        part = self.Work(self.gpu, 2 * MS)
        side = self.gpu.new_stream()

        def capture():
            with self.torch.in_stream(side):
                side.capturing = True
                part(self.input())
                side.capturing = False
            self.gpu.current.work(16 * MS)  # the graph, replayed

        model = self.Work(self.gpu, 1 * MS, inside=capture)
        with self.run_.watch(model, "net", cuda=True), self.run_.watch(part, "part", cuda=True):
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 17 * MS})

    def test_a_capture_of_the_stream_that_a_call_began_in(self):
        model = self.Work(self.gpu, 1 * MS, inside=lambda: setattr(self.gpu.current, "capturing", True))
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.gpu.current.capturing = False
            self.gpu.current.work(100 * MS)
            model.inside = None
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 1 * MS})

    def test_the_run_ends_in_a_capture(self):
        model = self.Work(self.gpu, 1 * MS)
        self.run_.watch(model, "net", cuda=True)
        model(self.input())
        self.catch_up()
        self.gpu.current.capturing = True
        self.assertEqual(self.end(), {})


class DevicesTest(CudaTest):
    gpus = 2

    def test_devices_are_told_before_the_first_record(self):
        second = self.torch.gpus[1]
        model = self.Work(self.gpu, 1 * MS, self.Work(second, 2 * MS))
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.agent.wait(lambda: len(self.agent.called("session.devices")) == 1)
            part = list(model._modules.values())[0]
            with self.torch.on(1):
                part(self.input(second))
            self.catch_up()
            self.agent.wait(lambda: len(self.agent.called("session.devices")) == 2)
        uuids = ["GPU-" + gpu.uuid for gpu in self.torch.gpus]
        told = self.agent.called("session.devices")
        token = self.agent.rings[0].session
        self.assertEqual(told, [{"session": token, "devices": uuids[:1]}, {"session": token, "devices": uuids}])
        self.assertNotIn("devices", self.agent.called("session.open")[0])
        self.assertEqual((self.times(0), self.times(1)), ({"net": 1 * MS}, {"0": 2 * MS}))

    def test_the_gpu_of_the_tensors_not_the_current_one(self):
        second = self.torch.gpus[1]
        model = self.Work(second, 3 * MS)
        with self.run_.watch(model, "net", cuda=True):
            self.torch.backward(model(self.input(second)))
            self.agent.wait(lambda: self.agent.called("session.devices"))
            self.catch_up()
        self.assertEqual(self.agent.called("session.devices")[0]["devices"], ["GPU-" + second.uuid])
        self.assertEqual(self.times(0), {"net": 9 * MS})

    def test_no_record_while_the_agent_cannot_know_the_device(self):
        link = self.run_._link
        model = self.Work(self.gpu, 1 * MS)
        with self.run_.watch(model, "net", cuda=True):
            with link._session._lock:  # somebody is sending
                model(self.input())
                self.torch.catch_up()
                model(self.input())
                self.assertEqual((self.times(), self.agent.called("session.devices")), ({}, []))
            self.catch_up()
            self.agent.wait(lambda: self.agent.called("session.devices"))
        self.assertEqual(self.times(), {"net": 2 * MS})

    def test_no_record_while_the_agent_reads_nothing(self):
        session = self.run_._link._session
        self.agent.stalled.set()
        while not session.channel.unsent:
            self.run_.event("long", text="x" * 15000)
        model = self.Work(self.gpu, 1 * MS)
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.agent.wait(lambda: session._devices_told == 1)
            self.torch.catch_up()
            model(self.input())
            self.assertEqual(self.times(), {})
            self.agent.stalled.clear()
            self.catch_up()
        self.assertEqual(self.times(), {"net": 2 * MS})

    def test_a_new_session_knows_them(self):
        model = self.Work(self.gpu, 1 * MS)
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.catch_up()
            self.agent.wait(lambda: self.agent.called("session.devices"))
            self.agent.kill()
            self.agent.wait(lambda: not self.run_._link.connected)
            model(self.input())  # goes on recording
            self.catch_up()
            second = self.torch.gpus[1]
            with self.torch.on(1):
                model.gpu = second
                model(self.input(second))
                self.catch_up()
            self.agent.start()
            self.agent.wait(lambda: len(self.agent.called("session.open")) == 2)
            uuids = ["GPU-" + gpu.uuid for gpu in self.torch.gpus]
            self.assertEqual(self.agent.called("session.open")[1]["devices"], uuids)
        self.assertEqual(self.times(0), {"net": 2 * MS})
        self.assertEqual(len(self.agent.called("session.devices")), 1)

    def test_a_mig_instance(self):
        self.gpu.name += " MIG 1g.10gb"
        model = self.Work(self.gpu, 1 * MS)
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.agent.wait(lambda: self.agent.called("session.devices"))
        self.assertEqual(self.agent.called("session.devices")[0]["devices"], ["MIG-" + self.gpu.uuid])

    def test_a_torch_that_tells_no_uuid(self):
        self.gpu.uuid = None
        model = self.block()
        with self.assertLogs("lezea_monitor", "WARNING") as logs:
            with self.run_.watch(model, "net", cuda=True):
                for _ in range(3):
                    self.torch.backward(model(self.input()))
        self.assertEqual((len(logs.output), self.torch.events), (1, []))
        self.assertIn("tells no GPU's UUID", logs.output[0])
        self.assertEqual(len([1 for _, activation in self.mine() if activation]), 9)

    def test_more_gpus_than_records_can_name(self):
        self.replace(mock.patch("lezea_monitor.link.MAX_DEVICES", 1))
        first, second = self.Work(self.gpu, 1 * MS), self.Work(self.torch.gpus[1], 1 * MS)
        with self.assertLogs("lezea_monitor", "WARNING") as logs:
            with self.run_.watch(first, "a", cuda=True), self.run_.watch(second, "b", cuda=True):
                first(self.input())
                second(self.input(self.torch.gpus[1]))
                self.catch_up()
        self.assertIn("one GPU too many", logs.output[0])
        self.assertEqual(self.times(), {"a": 1 * MS})

    def test_calls_without_a_tensor_on_a_gpu(self):
        model = self.Work(self.gpu, 1 * MS)
        part = list(self.block()._modules.values())[0]
        model.forward = lambda x=None, **more: None
        with self.run_.watch(model, "net", cuda=True):
            model(Tensor())  # on the CPU
            model(x=self.input())  # by name, and it has no parameters
            self.assertEqual(self.torch.records, 0)
            model.add("part", part)._parameters["weight"] = self.input()
            model(x=self.input())
            self.assertEqual(self.torch.records, 2)
            model(Tensor())
            self.assertEqual(self.torch.records, 2)
            self.torch.initialized = False
            model(x=self.input())
            self.assertEqual(self.torch.records, 2)


class FailuresTest(CudaTest):
    def lost(self, call, error):
        """Warns once, and goes on with the CPU alone."""
        model = self.block()
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.catch_up()
            self.torch.failing[call] = error
            with self.assertLogs("lezea_monitor", "WARNING") as logs:
                for _ in range(3):
                    self.torch.backward(model(self.input()))
            self.torch.failing.clear()
            records = self.torch.records
            model(self.input())
            self.assertEqual(self.torch.records, records)
        self.assertEqual(len(logs.output), 1)
        self.assertIn("CUDA error: device lost", logs.output[0])
        self.assertEqual(self.run_.dropped, 1)
        self.assertEqual(len([1 for _, activation in self.mine() if activation]), 15)
        self.assertEqual(self.mine()[-1], ("", 0))

    def test_recording(self):
        self.lost("record", RuntimeError("CUDA error: device lost"))

    def test_reading(self):
        self.lost("query", RuntimeError("CUDA error: device lost"))

    def test_the_current_device(self):
        self.lost("current_device", RuntimeError("CUDA error: device lost"))

    def test_a_fork(self):
        model = self.block()

        def work():
            self.torch.failing["current_device"] = RuntimeError("Cannot re-initialize CUDA in forked subprocess")
            self.torch.initialized = False
            model(Tensor())
            times = self.run_._watcher._times
            assert not times._off and not times._streams and self.run_.dropped == 0

        def fork():
            self.assertEqual(in_child(work)[1], 0)

        part = list(model._modules.values())[0]
        part.inside = lambda: (setattr(part, "inside", None), fork())
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            self.catch_up()
        self.assertEqual(self.times(), {"net": 9 * MS, "net/0": 2 * MS, "net/1": 4 * MS})

    def test_a_child_that_leaves_what_its_parent_was_in(self):
        def child():
            self.pid = os.fork()
            if self.pid == 0:
                self.torch.failing["current_device"] = RuntimeError("Cannot re-initialize CUDA")
                self.torch.initialized = False

        model = self.block()
        model.inside = child
        with self.run_.watch(model, "net", cuda=True):
            model(self.input())
            if self.pid == 0:
                times = self.run_._watcher._times
                os._exit(times._off or self.run_.dropped)
            self.catch_up()
        self.assertEqual(os.waitpid(self.pid, 0)[1], 0)
        self.assertEqual(self.times()["net"], 9 * MS)


class NoGpuTest(CudaTest):
    gpus = 0

    def says(self, text):
        model = self.Work(None, 0, self.Work(None, 0))
        with self.assertLogs("lezea_monitor", "WARNING") as logs:
            with self.run_.watch(model, "a", cuda=True), self.run_.watch(model, "b", cuda=True):
                self.torch.backward(model(Tensor()))
        self.assertEqual(len(logs.output), 1)
        self.assertIn(text, logs.output[0])
        self.assertEqual([path for path, activation in self.mine() if activation], ["layer:a", "layer:a/layer:0"])
        self.assertEqual((self.run_.dropped, self.times()), (0, {}))

    def test_no_gpu(self):
        self.says("torch finds no GPU")

    def test_torch_without_cuda(self):
        self.torch.version.cuda = None
        self.says("torch 2.15.0 is built without CUDA")

    def test_a_driver_that_does_not_answer(self):
        self.torch.failing["device_count"] = RuntimeError("no answer")
        self.says("no answer")


class StreamTest(unittest.TestCase):
    def test_a_time_below_zero_is_none(self):
        """The clock of an event may be read out of order by a signal handler's."""

        class Event:
            def query(self):
                return True

            def elapsed_time(self, end):
                return -0.5

        stream, free, node = cuda_streams.Stream(0, 0, None), [], object()
        stream.change(Event(), node)
        stream.change(Event(), None)
        self.assertEqual(stream.harvest(10, free), ({node: 0}, False))
        self.assertEqual(len(free), 1)
