"""One tenant of a GPU: a run that multiplies matrices for a part of the time.

`tenant.py --run ID --duty D --seconds N`.

Expects an agent (LEZEA_MONITOR_SOCKET) and torch with a GPU. Prints one line of JSON before it begins: `ready`, or
`skipped` and why. Begins with a line on its input. All work is in the scope `layer:work`.
"""

import argparse
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "python")]
PERIOD_SECONDS = 0.5
WIDTH = 8192


def work(torch, until, duty, matrix):
    """In each period busy for so much of it; the GPU is waited for, so that its queue is no longer than that."""
    while time.monotonic() < until:
        begun = time.monotonic()
        while time.monotonic() < begun + duty * PERIOD_SECONDS:
            matrix @ matrix
            torch.cuda.synchronize()
        time.sleep(max(0.0, begun + PERIOD_SECONDS - time.monotonic()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--duty", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    from layers import missing

    why = missing()
    print(json.dumps({"skipped": why} if why else {"ready": True}), flush=True)
    if why:
        return
    import torch

    import lezea_monitor as lm

    matrix = torch.randn(WIDTH, WIDTH, device="cuda", dtype=torch.float16)
    with lm.start_run(run_id=options.run) as run:
        work(torch, time.monotonic() + 2, options.duty, matrix)  # its context is there, and it is in a list
        sys.stdin.readline()
        with run.layer("work"):
            work(torch, time.monotonic() + options.seconds, options.duty, matrix)


if __name__ == "__main__":
    main()
