"""LeZeA's CostModel with the agent's figures.

Reads the agent's cost document, whose shape is that of `CostModel.summary()`; where the agent has no
prices, the model is fed with what was used and its own prices count. Either way what the program
declared is added: egress, storage and fixed costs, which no agent can measure. Estimates that the
program makes from percents are not used.
"""

import copy
import logging
from typing import Any, Callable, Dict, Optional

log = logging.getLogger("lezea_monitor")

DECLARED = {
    "egress_gb": "egress_eur",
    "storage_gb_months": "storage_eur",
    "fixed_eur": "fixed_eur",
}

# By column, the arguments of `CostModel.update` that say so much of it, and nothing else.
UPDATES: Dict[str, Callable[[float], Dict[str, Any]]] = {
    "cpu_seconds": lambda s: {"dt_seconds": s, "cpu_percent": 100.0, "cpu_cores": 1},
    "memory_byte_seconds": lambda bs: {"dt_seconds": 3600.0, "ram_gb": bs / 1e9 / 3600},
    "io_read_bytes": lambda b: {"dt_seconds": 1.0, "io_read_bytes": b},
    "io_write_bytes": lambda b: {"dt_seconds": 1.0, "io_write_bytes": b},
    "gpu_active_seconds": lambda s: {"dt_seconds": s, "gpu_util": 100.0, "gpu_count": 1},
}

Document = Dict[str, Any]
Columns = Dict[str, float]


class Costs:
    """Stands for a CostModel (None: the tracker has none); what it does not have is the model's."""

    def __init__(
        self,
        model: Any,
        measured: Callable[[], Optional[Document]],
        used: Callable[[], Dict[str, Columns]],
    ) -> None:
        """measured: the agent's cost document. used: what each scope itself has used so far."""
        self._model = model
        self._measured = measured
        self._used = used
        self._fed: Dict[str, Columns] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def update(self, *, egress_gb: float = 0.0, **estimate: Any) -> None:
        """Only what the agent cannot measure."""
        if egress_gb and self._model is not None:
            kept = {key: estimate[key] for key in ("scope_key", "dt_seconds") if key in estimate}
            self._model.update(egress_gb=egress_gb, **kept)

    def summary(self) -> Document:
        """The agent's document with what was declared, else the model's own; {} without either."""
        measured = self._measured()
        if self._model is None:
            return measured or {}
        try:
            if measured is None:
                self._feed()
                return dict(self._model.summary())
            declared = self._declared()
        except Exception as error:  # a model that does not work, as theirs does not everywhere
            log.debug("cost model: %r", error)
            return measured or {}
        return _added(measured, declared) if declared and "total_eur" in measured else measured

    def _feed(self) -> None:
        """Tells the model what was used since it was last told."""
        for scope, columns in self._used().items():
            fed = self._fed.setdefault(scope, {})
            for column, update in UPDATES.items():
                more = columns.get(column, 0.0) - fed.get(column, 0.0)
                if more > 0:
                    self._model.update(scope_key=scope, **update(more))
                    fed[column] = columns[column]

    to_json = summary

    def estimate_total_eur(self, **estimate: Any) -> float:
        """What it has cost so far. Raises LookupError where nobody knows."""
        total = self.summary().get("total_eur")
        if total is None:
            raise LookupError("what the run costs is not known")
        return float(total)

    def _declared(self) -> Document:
        """The model's own summary, without what it estimated; {} where nothing was declared."""
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
