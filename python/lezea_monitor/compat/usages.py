"""What several scopes of a run have used, inclusive, by path.

A few are asked for one by one, as of now; many are read out of one summary, half a second old at
most. A path that nobody knows is not in the answer.
"""

from typing import Any, Dict, Iterable

from .documents import SUMMARY, document

MANY = 8

Columns = Dict[str, float]


def usages(run: Any, paths: Iterable[str]) -> Dict[str, Columns]:
    """Columns by path; {} once the run has ended."""
    wanted = set(paths)
    if not run.active:
        return {}
    if len(wanted) > MANY:
        summary = document(run, SUMMARY) or {}
        known = {scope["path"]: scope["inclusive"] for scope in summary.get("scopes", ())}
    else:
        known = {path: run.usage(path, fresh=True).columns for path in wanted}
    return {path: columns for path, columns in known.items() if path in wanted and columns}
