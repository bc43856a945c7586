"""Makes JSON of what a program has: numpy's numbers, paths, dates, sets, options. Raises nothing.

Pure, but for the methods of what it is given.
"""

import dataclasses
import datetime
import enum
import math
import os
from typing import Any, List

MAX_LEVELS = 14  # the agent takes 16
MAX_TEXT_CHARS = 8192
MAX_ITEMS = 20_000
EXACT = 1 << 53  # what is greater is no number in JSON, but text


class Plain:
    """One conversion; `lost` says what could not be said as it was."""

    def __init__(self) -> None:
        self.lost: List[str] = []
        self._items = 0

    def make(self, value: Any, where: str = "", level: int = 0) -> Any:
        """JSON that says the same, None where there is nothing to say."""
        try:
            return self._make(value, where, level)
        except Exception as error:  # of a method of the program's own
            return self._lose(where, "%s: %s" % (type(value).__name__, type(error).__name__))

    def _make(self, value: Any, where: str, level: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.make(value.value, where, level)
        if isinstance(value, str):
            if len(value) > MAX_TEXT_CHARS:
                self.lost.append("%s: cut after %d characters" % (where, MAX_TEXT_CHARS))
            return value[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode()
        if isinstance(value, int):
            return int(value) if abs(value) <= EXACT else str(int(value))
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(float(value))
        return self._container(value, where, level)

    def _container(self, value: Any, where: str, level: int) -> Any:
        self._items += 1
        if level >= MAX_LEVELS or self._items > MAX_ITEMS:
            return self._lose(where, "too deep, or too much of it")
        if isinstance(value, dict):
            return self._mapping(value, where, level)
        if isinstance(value, (set, frozenset)):
            value = sorted(value, key=lambda one: (type(one).__name__, str(one)))
        if isinstance(value, (list, tuple)):
            return [
                self.make(one, "%s[%d]" % (where, at), level + 1) for at, one in enumerate(value)
            ]
        if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
            return value.isoformat()
        if isinstance(value, datetime.timedelta):
            return value.total_seconds()
        if isinstance(value, os.PathLike):
            return self.make(os.fsdecode(value), where, level)
        return self._other(value, where, level)

    def _mapping(self, value: Any, where: str, level: int) -> Any:
        result = {}
        for key, inner in list(value.items()):
            text = key if isinstance(key, str) else str(self.make(key, where, level + 1))
            text = text[:250].encode("utf-8", "replace").decode()
            result[text] = self.make(inner, "%s.%s" % (where, text) if where else text, level + 1)
        return result

    def _other(self, value: Any, where: str, level: int) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self._mapping(fields, where, level)
        size = getattr(value, "size", None)
        if callable(getattr(value, "tolist", None)):  # numpy, torch, pandas
            size = size() if callable(size) else size
            if isinstance(size, tuple):  # torch.Size
                size = math.prod(size)
            if isinstance(size, int) and size <= 1000:
                return self.make(value.tolist(), where, level)
            return self._lose(where, "%s of %s values" % (type(value).__name__, size))
        if type(value).__name__ == "Namespace":  # argparse
            return self._mapping(vars(value), where, level)
        if callable(getattr(value, "keys", None)) and callable(
            getattr(value, "__getitem__", None)
        ):  # a mapping of its own, as OmegaConf's
            return self._mapping({key: value[key] for key in value.keys()}, where, level)
        if isinstance(value, type) or callable(value):
            name = getattr(value, "__qualname__", None) or type(value).__name__
            return "%s.%s" % (getattr(value, "__module__", ""), name)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._lose(where, "%d bytes" % len(value))
        text = str(value)[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode()
        self.lost.append("%s: a %s, as text" % (where, type(value).__name__))
        return text

    def _lose(self, where: str, why: str) -> None:
        self.lost.append("%s: %s, left out" % (where, why))
