"""A run with a child that binds itself to another run: RUN OTHER-RUN. Passes on what it says."""

import json
import os
import subprocess
import sys

from common import begin, say


def main():
    run = begin(sys.argv[1])
    mover = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mover.py")
    with run.scope("part", "child"):
        done = subprocess.run(
            [sys.executable, mover, sys.argv[2]], stdout=subprocess.PIPE, check=True
        )
    run.end()
    say(**json.loads(done.stdout))


main()
