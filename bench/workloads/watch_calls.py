"""Calls torch modules that are watched, marked by record_function, and neither: `watch_calls.py SECONDS`.

Expects an agent (LEZEA_MONITOR_SOCKET). Prints JSON: `rounds` has, for each contestant, µs of this
thread's CPU time per module call that it costs above the bare module, a figure a round. `forward`
calls a module that does nothing, without gradients; `training` goes forward and backward through small
linear layers. `record_function` is entered and left by hooks of each module, forward only.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.profiler import record_function

import lezea_monitor as lm

CALLS = 1000  # of the empty module in a round
LAYERS, STEPS = 20, 20  # of the other


class Recorded:
    """The hooks that people write to see their modules in a profile."""

    def __init__(self, model):
        self.handles, self.open = [], []
        for name, part in model.named_modules():
            self.handles.append(part.register_forward_pre_hook(lambda *_, name=name: self.enter(name)))
            self.handles.append(part.register_forward_hook(lambda *_: self.leave(), always_call=True))

    def enter(self, name):
        mark = record_function(name)
        mark.__enter__()
        self.open.append(mark)

    def leave(self):
        self.open.pop().__exit__(None, None, None)

    def remove(self):
        for handle in self.handles:
            handle.remove()


class Nothing:
    def remove(self):
        pass


def forward(model, value):
    with torch.no_grad():
        for _ in range(CALLS):
            model(value)
    return CALLS


def training(model, value):
    for _ in range(STEPS):
        model(value).sum().backward()
    return STEPS * (LAYERS + 1)


def main():
    torch.set_num_threads(1)
    run = lm.start_run(experiment="bench")
    work = {
        "forward": (forward, nn.Identity(), torch.ones(1)),
        "training": (training, nn.Sequential(*(nn.Linear(8, 8) for _ in range(LAYERS))), torch.ones(8, 8)),
    }
    ways = {"bare": lambda model: Nothing(), "ours": run.watch, "record_function": Recorded}
    rounds = {name: {way: [] for way in ways} for name in work}
    deadline = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < deadline or len(rounds["forward"]["ours"]) < 6:
        for name, (go, model, value) in work.items():
            for way, attach in ways.items():
                handle = attach(model)
                begin = time.thread_time_ns()
                calls = go(model, value)
                rounds[name][way].append((time.thread_time_ns() - begin) / calls / 1000)
                handle.remove()
    run.end()
    said = {}
    for name, figures in rounds.items():
        for way in ("ours", "record_function"):
            said[name + " " + way] = [a - b for a, b in zip(figures[way], figures["bare"])][1:]
        said[name + " bare"] = figures["bare"][1:]
    json.dump({"accelerated": lm.ACCELERATED, "rounds": said}, sys.stdout)


main()
