"""The queries of deploy/grafana, with their variables filled in."""

import glob
import json
import os
import re
from typing import Dict, Iterator, NamedTuple

from .paths import REPOSITORY

FOLDER = os.path.join(REPOSITORY, "deploy", "grafana")
_VARIABLE = re.compile(r"\$(\w+)")


class Query(NamedTuple):
    """`where`: dashboard and panel, or the variable whose values it gives."""

    dashboard: str
    where: str
    expression: str


def queries(values: Dict[str, str]) -> Iterator[Query]:
    """Of every panel and of every variable. Raises KeyError for a variable without a value."""
    for path in sorted(glob.glob(os.path.join(FOLDER, "*.json"))):
        with open(path, encoding="utf-8") as file:
            dashboard = json.load(file)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield Query(dashboard["uid"], panel["title"], filled(target["expr"], values))
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                family, label = _label_values(variable["query"])
                expression = "count by (%s) (%s)" % (label, family)
                yield Query(dashboard["uid"], "$" + variable["name"], filled(expression, values))


def _label_values(query: str) -> "tuple[str, str]":
    found = re.match(r"label_values\((.*), (\w+)\)$", query)
    assert found is not None, query
    return found.group(1), found.group(2)


def filled(expression: str, values: Dict[str, str]) -> str:
    return _VARIABLE.sub(lambda name: values[name.group(1)], expression)
