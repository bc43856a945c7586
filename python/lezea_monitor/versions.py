"""Versions, compared by their numbers: 9.2 is older than 12.1. Pure.

The rules of `lezea-monitor preflight`.
"""

import re
from typing import List, Tuple

_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)(.*)\Z", re.DOTALL)
# Of Python packages (PEP 440): older than the release they come before.
_BEFORE = re.compile(r"[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)", re.IGNORECASE)


def is_version(text: str) -> bool:
    return _VERSION.match(text) is not None


def is_older(one: str, other: str) -> bool:
    """Whether `one` is older, as far as numbers go. What is no version is older than any."""
    return _key(one) < _key(other)


def _key(text: str) -> Tuple[List[int], bool]:
    found = _VERSION.match(text.strip())
    if found is None:
        return [-1], False
    numbers = [int(number) for number in found.group(1).split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:  # 12 is 12.0.0
        numbers.pop()
    return numbers, _BEFORE.match(found.group(2)) is None
