"""A run's summary document: look-ups, and the check that its parts are its whole."""

from typing import Any, Dict, List, Optional


class Document:
    """resources/summary.json of one run."""

    def __init__(self, document: Dict[str, Any]) -> None:
        self.raw = document
        self._scopes = {scope["path"]: scope for scope in document["scopes"]}

    @property
    def status(self) -> str:
        return str(self.raw["run"]["status"])

    @property
    def lost_events(self) -> int:
        return int(self.raw["agent"]["lost_events"])

    def total(self, column: str) -> Optional[float]:
        value = self.raw["totals"].get(column)
        return None if value is None else value["value"]

    def scope(self, path: str, column: str, part: str = "self") -> Optional[float]:
        """A scope's own figure (or inclusive); None where the scope or the figure is not there."""
        scope = self._scopes.get(path)
        return None if scope is None else scope[part].get(column)

    def unattributed(self, column: str) -> Optional[float]:
        return self.raw["unattributed"].get(column)

    def violations(self) -> List[str]:
        """Every way in which Σ self + unattributed is not the total, by two ways of reckoning."""
        found = []
        for column, line in self.raw["conservation"].items():
            parts = int(line["scopes"]) + int(line["unattributed"])
            if parts != int(line["total"]) or line["residual"] != "0":
                found.append("%s: %s + %s is not %s" % (
                    column, line["scopes"], line["unattributed"], line["total"]
                ))  # fmt: skip
        for column, total in self.raw["totals"].items():
            if column not in self.raw["conservation"]:
                continue
            figures = [scope["self"].get(column, 0) for scope in self.raw["scopes"]]
            reckoned = sum(figures) + self.raw["unattributed"].get(column, 0)
            if abs(reckoned - total["value"]) > 1e-9 * max(1.0, abs(total["value"])):
                found.append("%s: the scopes say %r, the total %r" % (
                    column, reckoned, total["value"]
                ))  # fmt: skip
        return found
