"""256 MiB written and fsynced in the parent, the same in children, and both read back cold.

Arguments: RUN FOLDER. Scopes io:parent-writes, io:children-write, io:parent-reads and
io:children-read; the children are reaped in the scope they were forked in. Says what
/proc/self/io says of each stretch: it takes in the children that were reaped.
"""

import os
import sys
import time

from common import begin, fork, fresh, own_io, reap, say

MIB = 1 << 20
TOTAL, CHILDREN = 256 * MIB, 4
COLUMNS = {"io_read_bytes": "read_bytes", "io_write_bytes": "write_bytes"}


def write(path, size):
    block = os.urandom(MIB)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    for _ in range(size // MIB):
        os.write(fd, block)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read(path, size):
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, MIB):
        size -= MIB
    os.close(fd)
    assert size == 0


def in_children(work, paths):
    size = TOTAL // CHILDREN
    children = [fork(lambda path=path: work(path, size)) for path in paths]
    for pid in children:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    time.sleep(0.3)  # ended and not reaped: they are looked at like that, too
    reap(*children)


def stretch(run, name, body):
    before = own_io()
    with run.scope("io", name):
        body()
    after = own_io()
    return {column: after[field] - before[field] for column, field in COLUMNS.items()}


def main():
    run = begin(sys.argv[1])
    path = os.path.join(sys.argv[2], "lezea-truth-%d" % os.getpid())
    parts = [path + ".%d" % i for i in range(CHILDREN)]
    before = own_io()
    said_before = {column: fresh(run, column) for column in COLUMNS}
    stretches = {}
    try:
        stretches["parent-writes"] = stretch(run, "parent-writes", lambda: write(path, TOTAL))
        stretches["children-write"] = stretch(
            run, "children-write", lambda: in_children(write, parts)
        )
        stretches["parent-reads"] = stretch(run, "parent-reads", lambda: read(path, TOTAL))
        stretches["children-read"] = stretch(
            run, "children-read", lambda: in_children(read, parts)
        )
    finally:
        for file in [path, *parts]:
            if os.path.exists(file):
                os.unlink(file)
    after = own_io()
    run.end()
    kernel = {column: after[field] - before[field] for column, field in COLUMNS.items()}
    say(kernel=kernel, agent_before=said_before, stretches=stretches, size=TOTAL)


main()
