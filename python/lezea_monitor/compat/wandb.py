"""A run's figures for `wandb.run.summary.update`. Imports no wandb; owns nothing."""

from typing import Any, Dict, Union

from .documents import SUMMARY, document

Value = Union[int, float, str]


def wandb_summary(run: Any, prefix: str = "lezea/") -> Dict[str, Value]:
    """A flat dict: totals, scopes, status. Live while the run goes on, final after `run.end()`.

    Names are those of `metrics.json`: `total/<column>`, `<path>/<column>` a scope itself,
    `<path>/inclusive/<column>` with everything below it. What is not known has no key; {} without
    an agent.
    """
    summary = document(run, SUMMARY)
    if summary is None:
        return {}
    found: Dict[str, Value] = {
        "run_id": summary["run"]["id"],
        "status": summary["run"]["status"],
    }
    for column, total in summary["totals"].items():
        found["total/" + column] = total["value"]
    for scope in summary["scopes"]:
        for word, part in (("/", "self"), ("/inclusive/", "inclusive")):
            for column, value in scope[part].items():
                found[scope["path"] + word + column] = value
    fingerprint = summary.get("environment", {}).get("fingerprint")
    if fingerprint is not None:
        found["environment_fingerprint"] = fingerprint
    return {prefix + key: value for key, value in found.items()}
