"""LeZeA's CostModel with the agent's figures.

Reads the agent's cost document, whose shape is that of `CostModel.summary()`, and what the program
declared to its own model: egress, storage and fixed costs, which no agent can measure. Estimates
that the program makes from percents are not used.
"""

import copy
from typing import Any, Callable, Dict, Optional

DECLARED = {
    "egress_gb": "egress_eur",
    "storage_gb_months": "storage_eur",
    "fixed_eur": "fixed_eur",
}

Document = Dict[str, Any]


class Costs:
    """Stands for a CostModel (None: the tracker has none); what it does not have is the model's."""

    def __init__(self, model: Any, measured: Callable[[], Optional[Document]]) -> None:
        self._model = model
        self._measured = measured

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def update(self, *, egress_gb: float = 0.0, **estimate: Any) -> None:
        """Only what the agent cannot measure."""
        if egress_gb and self._model is not None:
            kept = {key: estimate[key] for key in ("scope_key", "dt_seconds") if key in estimate}
            self._model.update(egress_gb=egress_gb, **kept)

    def summary(self) -> Document:
        """The agent's document with what was declared; {} where there is neither."""
        measured = self._measured()
        declared = self._declared()
        if measured is None:
            return declared
        return _added(measured, declared) if declared and "total_eur" in measured else measured

    to_json = summary

    def estimate_total_eur(self, **estimate: Any) -> float:
        """What it has cost so far. Raises LookupError where nobody knows."""
        total = self.summary().get("total_eur")
        if total is None:
            raise LookupError("what the run costs is not known")
        return float(total)

    def _declared(self) -> Document:
        """The model's own summary, without what it estimated; {} where nothing was declared."""
        if self._model is None:
            return {}
        whole = self._model.summary()
        scopes = {key: _only_declared(bill) for key, bill in whole.get("scopes", {}).items()}
        scopes = {key: bill for key, bill in scopes.items() if bill["totals"]}
        if not scopes:
            return {}
        grand: Document = {"totals": {}, "components_eur": {}, "total_eur": 0.0}
        for bill in scopes.values():
            _add(grand, bill)
        return {
            **{key: whole[key] for key in ("created_at", "rates_eur") if key in whole},
            "scopes": scopes,
            "grand_totals": grand["totals"],
            "grand_components_eur": grand["components_eur"],
            "total_eur": grand["total_eur"],
        }


def _only_declared(bill: Document) -> Document:
    totals = {key: bill["totals"][key] for key in DECLARED if bill["totals"].get(key)}
    names = [DECLARED[key] for key in totals]
    parts = {name: bill["components_eur"][name] for name in names if name in bill["components_eur"]}
    return {"totals": totals, "components_eur": parts, "total_eur": sum(parts.values())}


def _added(measured: Document, declared: Document) -> Document:
    whole = copy.deepcopy(measured)
    rates = declared.get("rates_eur", {})
    whole["rates_eur"] = {**rates, **whole.get("rates_eur", {})}
    nothing: Document = {"totals": {}, "components_eur": {}, "total_eur": 0.0}
    for key, bill in declared["scopes"].items():
        _add(whole["scopes"].setdefault(key, copy.deepcopy(nothing)), bill)
    grand = {
        "totals": whole["grand_totals"],
        "components_eur": whole["grand_components_eur"],
        "total_eur": whole["total_eur"],
    }
    for bill in declared["scopes"].values():
        _add(grand, bill)
    whole["total_eur"] = grand["total_eur"]
    whole["unpriced"] = [
        name for name in whole.get("unpriced", ()) if name not in declared["grand_totals"]
    ]
    return whole


def _add(bill: Document, other: Document) -> None:
    for part in ("totals", "components_eur"):
        for key, value in other[part].items():
            bill[part][key] = bill[part].get(key, 0.0) + value
    bill["total_eur"] += other["total_eur"]
