"""The list of cases. A case is a function that takes a Truth and compares; see case.py."""

from typing import TYPE_CHECKING, Callable, Dict

if TYPE_CHECKING:
    from .truth import Truth

CASES: "Dict[str, Callable[[Truth], None]]" = {}


class Skip(Exception):
    """This case, or the rest of it, cannot be run here; the message says why."""


def case(name: str) -> "Callable[[Callable[[Truth], None]], Callable[[Truth], None]]":
    """Registers a case under `name`; its docstring's first line is what `--list` prints."""

    def register(function: "Callable[[Truth], None]") -> "Callable[[Truth], None]":
        assert name not in CASES, name
        CASES[name] = function
        return function

    return register
