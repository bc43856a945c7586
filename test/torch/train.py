"""Trains a watched transformer and says what the agent and torch's profiler make of it, as JSON.

`train.py SIZE STEPS`: SIZE is a key of SIZES. Expects an agent (LEZEA_MONITOR_SOCKET). First STEPS
steps with run.watch: the CPU seconds of each layer, self, of all layers and of the process. Then as
many with torch.profiler and none of ours: the self CPU time of every operation, by layer. A forward
operation is of the layer whose mark (record_function) it is in; a backward one of the layer whose
forward operation has its sequence number, which is autograd's own word for it. One thread, because
the profiler's self CPU time is the wall time of a thread.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

import lezea_monitor as lm
from by_layer import by_layer, marked

# width, layers, heads, tokens of a sequence, sequences, words
SIZES = {"small": (256, 4, 4, 128, 8, 1000), "365m": (1024, 24, 16, 256, 1, 31000)}


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        query, key, value = (
            part(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, length, words):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)

    def forward(self, tokens):
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def main():
    width, layers, heads, length, batch, words = SIZES[sys.argv[1]]
    steps = int(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Transformer(width, layers, heads, length, words)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    tokens = torch.randint(words, (batch, length))

    def step():
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        loss.backward()
        with record_function("optimizer"):
            optimizer.step()
        optimizer.zero_grad()

    step()
    run = lm.start_run(experiment="watch")
    before = run.usage(fresh=True).cpu_seconds
    clock = time.process_time()
    with run.watch(model, "net"):
        for _ in range(steps):
            step()
    clock = time.process_time() - clock
    whole = run.usage(fresh=True).cpu_seconds - before
    watched = {}
    for name, part in model.named_modules():
        if not isinstance(part, nn.ModuleList):
            watched[name] = run.usage(path_of(model, name)).self_.cpu_seconds or 0
    layers_cpu = run.usage("layer:net").cpu_seconds
    dropped = run.dropped
    run.end()
    marked(model)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step()
    profiled = by_layer(profiler.events(), lambda event: event.self_cpu_time_total / 1e6)
    json.dump(
        {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "steps": steps, "process_seconds": clock, "whole_seconds": whole, "layer_seconds": layers_cpu,
            "watched": watched, "profiled": {name: s for name, s in profiled.items() if name is not None},
            "outside_seconds": profiled.get(None, 0), "dropped": dropped,
        },
        sys.stdout,
    )  # fmt: skip


def path_of(model, name):
    """layer:net/layer:blocks.0/layer:mlp, of blocks.0.mlp."""
    path, word = ["layer:net"], ""
    for piece in name.split(".") if name else []:
        word = word + "." + piece if word else piece
        if piece != "blocks":
            path.append("layer:" + word)
            word = ""
    return "/".join(path)


main()
