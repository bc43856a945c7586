"""The results: one row a comparison, printed as a table while they come, and as JSON.

A row's error is what its bound is about: a share of what was expected, percentage points of a
run, or the unit itself. Nothing is left out silently: a case that cannot run is a row, too.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass
from typing import IO, List, Optional


@dataclass
class Row:
    """One comparison. `unit` is that of expected and measured; error and bound have their own."""

    case: str
    what: str
    unit: str
    expected: Optional[float] = None
    measured: Optional[float] = None
    error: Optional[float] = None
    error_unit: str = ""
    bound: str = ""
    ok: bool = True
    skipped: Optional[str] = None
    failed: Optional[str] = None  # why there is no figure at all


class Table:
    """Collects rows; with `live` set prints each as it comes."""

    def __init__(self, live: Optional[IO[str]]) -> None:
        self.rows: List[Row] = []
        self._live = live
        self._case = ""

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self._live is not None:
            if row.case != self._case:
                self._case = row.case
                print("\n%s" % row.case, file=self._live)
            print(_line(row), file=self._live, flush=True)

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    def counts(self) -> str:
        cases = {row.case for row in self.rows}
        skipped = sorted({row.case for row in self.rows if row.skipped})
        bad = sorted({row.case for row in self.rows if not row.ok})
        text = "%d cases, %d comparisons, %d past their bound" % (
            len(cases),
            sum(1 for row in self.rows if row.error is not None),
            sum(1 for row in self.rows if not row.ok),
        )
        if skipped:
            text += ", %d skipped (%s)" % (len(skipped), ", ".join(skipped))
        return text + ("; failed: " + ", ".join(bad) if bad else "")

    def write_json(self, file: IO[str] = sys.stdout) -> None:
        for row in self.rows:
            json.dump(asdict(row), file)
            file.write("\n")


def _line(row: Row) -> str:
    if row.skipped:
        return "  skipped %s: %s" % (row.what, row.skipped)
    if row.failed:
        return "  FAILED  %s: %s" % (row.what, row.failed)
    return "  %-6s %-46s expected %14s  measured %14s %-6s error %10s  bound %s" % (
        "ok" if row.ok else "FAILED",
        row.what,
        number(row.expected),
        number(row.measured),
        row.unit,
        number(row.error) + (" " + row.error_unit if row.error_unit else ""),
        row.bound,
    )


def number(value: Optional[float]) -> str:
    """Six digits that matter; whole numbers whole."""
    if value is None:
        return "-"
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return "%.6g" % value
