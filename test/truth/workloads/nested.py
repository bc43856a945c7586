"""Nested scopes that use CPU, memory and storage until they are ended: RUN FOLDER.

Waits for the agent, which may be yet to come. Says once that it has begun.
"""

import os
import sys
import time

import lezea_monitor as lm
from common import burn, resident, say

MIB = 1 << 20
POLL_SECONDS = 0.05


def store(path):
    """Written and read back from the disk."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, os.urandom(MIB))
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(fd, MIB, 0)
    os.close(fd)


def main():
    while not os.path.exists(os.environ["LEZEA_MONITOR_SOCKET"]):
        time.sleep(POLL_SECONDS)
    run = lm.start_run("truth", run_id=sys.argv[1], name="nested", limits={"core_hours": 40})
    if not run.active:
        sys.exit("no run: the agent was not found or refused")
    path = os.path.join(sys.argv[2], "data")
    held = []
    with run.builder("b0"), run.tasker("t0"):
        say(begun=True)
        while True:
            with run.network("policy"):
                burn(20_000_000)
                with run.layer("fc1"):
                    burn(20_000_000)
            with run.scope("phase", "data"):
                store(path)
                if len(held) < 4:
                    held.append(resident(16 * MIB))
            time.sleep(0.1)


main()
