"""Bytes read from and written to storage: of the run exactly, of scopes nearly, never twice."""

import mmap

from harness.paths import disk_folder
from harness.registry import Skip, case
from harness.truth import Truth

HALF_MIB = 1 << 19


@case("io_bytes")
def io_bytes(truth: Truth) -> None:
    """256 MiB by a parent and by reaped children, written, fsynced and read back cold."""
    folder, why_not = disk_folder()
    if not folder:
        raise Skip(why_not)
    run_id = truth.run_id()
    said = truth.start("storage", run_id, folder).finish()
    document = truth.document(run_id)
    for column in ("io_write_bytes", "io_read_bytes"):
        total = document.total(column)
        measured = None if total is None else total - said["agent_before"][column]
        truth.within("run %s, /proc/self/io" % column, said["kernel"][column], measured, "B",
                     absolute=mmap.PAGESIZE)  # fmt: skip
        truth.within("run %s, size of the files" % column, 2 * said["size"], measured, "B",
                     absolute=HALF_MIB)  # fmt: skip
    for name in ("parent-writes", "children-write", "parent-reads", "children-read"):
        column = "io_write_bytes" if "write" in name else "io_read_bytes"
        truth.within("scope %s, size of its files" % name, said["size"],
                     document.scope("io:" + name, column), "B", absolute=HALF_MIB)  # fmt: skip
        truth.within("scope %s, /proc/self/io" % name, said["stretches"][name][column],
                     document.scope("io:" + name, column), "B", absolute=HALF_MIB)  # fmt: skip
