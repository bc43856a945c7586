"""Reads Prometheus text: {name: {sorted labels: value}}. Fetches it over HTTP."""

import re
import urllib.request
from typing import Dict, Tuple

Labels = Tuple[Tuple[str, str], ...]
Families = Dict[str, Dict[Labels, float]]

_LINE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def parse(text: str) -> Families:
    """Every sample of a text exposition, by name and labels (kept escaped)."""
    families: Families = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError("not a sample: %r" % line)
        name, labels, value = match.groups()
        key = tuple(sorted(_LABEL.findall(labels or "")))
        families.setdefault(name, {})[key] = float(value)
    return families
