"""Two processes train one model with DistributedDataParallel on gloo, watched and not.

Expects an agent (LEZEA_MONITOR_SOCKET). Prints JSON, an object for each rank.
"""

import json
import os
import subprocess
import sys
import tempfile

import torch
import torch.distributed as distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lezea_monitor as lm
from lezea_monitor import scope

RANKS = 2


def train(run, watched):
    torch.manual_seed(distributed.get_rank())
    model = DistributedDataParallel(
        nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256)), bucket_cap_mb=0.5
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    handle = run.watch(model, "net") if watched else None
    for _ in range(40):
        model(torch.randn(256, 256)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    if handle is not None:
        handle.remove()
    return [parameter.detach().clone() for parameter in model.parameters()]


def work(rank, store):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=RANKS)
    with lm.start_run(run_id="distributed") as run:
        alone = train(run, False)
        distributed.barrier()
        before = run.usage(fresh=True).cpu_seconds
        watched = train(run, True)
        after = scope.current().path
        distributed.barrier()
        whole = run.usage(fresh=True).cpu_seconds - before
        layers = {}
        for name in ("module", "module.0", "module.2"):
            path = "/".join(["layer:net"] + ["layer:" + piece for piece in name.split(".")])
            layers[name] = run.usage(path).cpu_seconds
        said = {
            "same": all(map(torch.equal, alone, watched)), "layers": layers, "dropped": run.dropped,
            "share": run.usage("layer:net").cpu_seconds / whole, "scope_after": after,
        }  # fmt: skip
        distributed.barrier()
    distributed.destroy_process_group()
    json.dump(said, sys.stdout)


def main():
    if len(sys.argv) == 3:
        return work(int(sys.argv[1]), sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", os.path.abspath(__file__)]
        ranks = [
            subprocess.Popen([*command, str(rank), os.path.join(folder, "store")], stdout=subprocess.PIPE)
            for rank in range(RANKS)
        ]
        said = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert not any(rank.returncode for rank in ranks)
    json.dump([json.loads(text) for text in said], sys.stdout)


main()
