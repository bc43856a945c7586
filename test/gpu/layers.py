"""What two layers take on a GPU: as run.watch(cuda=True) measures it, and as torch.profiler does.

`layers.py [--steps N] [--json]`: expects an agent (LEZEA_MONITOR_SOCKET) and torch. One layer
multiplies matrices, the other moves memory; both go forward and backward, N times, watched and
profiled at once, so that both tell of the same kernels. The client's figures are the records of
kind 1 in its own rings. As JSON: `scopes`, by path `client_ns` and `profiler_ns`; `devices`, the UUIDs
that the records name; `dropped`. Where nothing can be measured: `skipped` alone, which says why.
"""

import argparse
import importlib.util
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OPERATIONS = 8  # of a layer, one after another
WIDTH = 8192  # of the matrices, float16: some ms a product
ELEMENTS = 1 << 27  # of the memory, float32: 512 MiB, more than any cache
SCALE = 1.0 / WIDTH  # keeps the products finite


def missing():
    """Why nothing can be measured here; "" where it can."""
    if importlib.util.find_spec("torch") is None:
        return "no torch: pip install torch"
    import torch

    if not torch.cuda.is_available():
        return "torch %s finds no GPU" % torch.__version__
    if not hasattr(torch.cuda.get_device_properties(0), "uuid"):
        return "torch %s tells no UUID of a GPU" % torch.__version__
    return ""


def model_on(device, width=WIDTH, elements=ELEMENTS):
    """The two layers; `inputs` is what a step begins with."""
    import torch
    from torch import nn

    class MatMul(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(width, width, device=device, dtype=torch.float16))

        def forward(self, x):
            for _ in range(OPERATIONS):
                x = x @ self.weight * SCALE
            return x

    class Memory(nn.Module):
        def forward(self, x):
            for _ in range(OPERATIONS):
                x = x.sin()
            return x

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.matmul, self.memory = MatMul(), Memory()

        def forward(self, matrix, values):
            return self.matmul(matrix), self.memory(values)

    inputs = (
        torch.randn(width, width, device=device, dtype=torch.float16),
        torch.randn(elements, device=device, requires_grad=True),
    )
    return Both(), inputs


def train(model, inputs, steps):
    """The gradients begin with the results themselves: a loss would be of no layer."""
    import torch

    for _ in range(steps):
        outputs = model(*inputs)
        torch.autograd.backward(outputs, [output.detach() for output in outputs])
        model.zero_grad()
        inputs[1].grad = None


def client_ns(run):
    """GPU ns by path, from the records of this process's rings."""
    from lezea_monitor import layout

    paths = {node.id: node.path for node in run._tree.nodes}
    found = {}
    for ring in run._pool.rings:
        for lane in range(ring.lanes):
            records, count = ring.records(lane), ring.heads[ring.head_index(lane)]
            if count > ring.capacity:
                raise SystemExit("a lane was written over: fewer --steps")
            for n in range(count):
                _, ns, scope, _, kind, _ = layout.RECORD.unpack_from(records, n * layout.RECORD_SIZE)
                if kind & 0xFF == layout.KIND_GPU:
                    found[paths[scope]] = found.get(paths[scope], 0) + ns
    return found


def kernel_ns(event):
    """Of the kernels that an operation itself has launched; a mark shows as one on the GPU, and is none."""
    if getattr(event, "is_user_annotation", False):
        return 0
    return sum(round(kernel.duration * 1000) for kernel in event.kernels)


def measure(steps):
    import torch
    from torch.profiler import ProfilerActivity, profile

    import lezea_monitor as lm

    sys.path.insert(0, os.path.join(ROOT, "test", "torch"))
    from by_layer import by_layer, marked

    model, inputs = model_on("cuda")
    marked(model)
    train(model, inputs, 3)
    torch.cuda.synchronize()
    run = lm.start_run(experiment="gpu layers")
    if not run.active:
        return {"skipped": "no agent"}
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        with run.watch(model, "net", cuda=True):
            train(model, inputs, steps)
            torch.cuda.synchronize()  # the program's own: leaving the block reads what is done
    client = client_ns(run)
    devices, dropped = list(run._link.identity.devices), run.dropped
    run.end()
    profiled = by_layer(profiler.events(), kernel_ns)
    paths = {"matmul": "layer:net/layer:matmul", "memory": "layer:net/layer:memory"}
    scopes = {
        path: {"client_ns": client.get(path, 0), "profiler_ns": profiled.get(name, 0)} for name, path in paths.items()
    }
    return {"scopes": scopes, "devices": devices, "dropped": dropped, "steps": steps}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    why = missing()
    said = {"skipped": why} if why else measure(options.steps)
    if options.json:
        json.dump(said, sys.stdout)
        print()
    elif "skipped" in said:
        print("skipped: " + said["skipped"])
    else:
        for path, ns in said["scopes"].items():
            share = 100 * (ns["client_ns"] / ns["profiler_ns"] - 1)
            print("%s: %.3f s, torch.profiler %.3f s, %+.2f %%" % (
                path, ns["client_ns"] / 1e9, ns["profiler_ns"] / 1e9, share
            ))  # fmt: skip


if __name__ == "__main__":
    main()
