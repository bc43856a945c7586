"""What was compared, a line each while it comes, and how it ended. Nothing is left out silently."""

import json
from typing import Any, List, Optional


class Report:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._case = ""
        self._counts = {"ok": 0, "failed": 0, "not compared": 0}

    def begin(self, case: str) -> None:
        self._case = case
        if not self._as_json:
            print("\n%s" % case)

    def check(self, what: str, ok: bool, said: str) -> None:
        self._add("ok" if ok else "failed", what, said)

    def skip(self, what: str, why: str) -> None:
        self._add("not compared", what, why)

    def compare(self, what: str, ours: Optional[float], theirs: float, bound: float, unit: str) -> None:
        """Of two figures; one that the agent does not have is past any bound."""
        if ours is None:
            self.check(what, False, "the agent has no figure; nvidia-smi says %g %s" % (theirs, unit))
            return
        said = "%.6g %s, nvidia-smi %.6g, bound %.3g" % (ours, unit, theirs, bound)
        self.check(what, abs(ours - theirs) <= bound, said)

    def table(self, columns: List[str], rows: List[List[Any]]) -> None:
        """Markdown, to be pasted into docs."""
        if self._as_json:
            for row in rows:
                print(json.dumps({"case": self._case, "table": dict(zip(columns, row))}))
            return
        print("\n| %s |\n|%s" % (" | ".join(columns), "---|" * len(columns)))
        for row in rows:
            cells = ("%.1f" % cell if isinstance(cell, float) else str(cell) for cell in row)
            print("| %s |" % " | ".join(cells))

    def end(self) -> int:
        if not self._as_json:
            print("\n" + ", ".join("%d %s" % (count, state) for state, count in self._counts.items()))
        return 1 if self._counts["failed"] > 0 else 0

    def _add(self, state: str, what: str, said: str) -> None:
        self._counts[state] += 1
        if self._as_json:
            print(json.dumps({"case": self._case, "state": state, "what": what, "said": said}))
        else:
            print("  %-12s  %s: %s" % (state, what, said), flush=True)
