"""LeZeA's keys for what a part has used, out of the agent's columns.

Reads Columns of `run.usage`; emits `Figures`: hours, GB-hours (GB is 10⁹ bytes) and bytes. A key
whose columns are not known is not there.
"""

from typing import Any, Callable, Dict, Mapping

HOUR = 3600.0
GB = 1e9

# LeZeA's key: the columns that it is the sum of, and how much of them makes one.
KEYS: Dict[str, Any] = {
    "cpu_h": (("cpu_seconds",), HOUR),
    "mem_gb_h": (("memory_byte_seconds",), GB * HOUR),
    "gpu_h": (("gpu_active_seconds",), HOUR),
    "io_bytes": (("io_read_bytes", "io_write_bytes"), 1.0),
}


class Unknown(float):
    """A figure that nobody knows, where a program insists on a number.

    A NaN that stays one through arithmetic. Its only other trait: `int()` and `round()` of it are
    0, where those of another NaN raise, for a training is not to end over what was not measured.
    """

    def __int__(self) -> int:
        return 0

    def __round__(self, digits: Any = None) -> Any:
        return 0 if digits is None else self

    def __repr__(self) -> str:
        return "unknown"


def _propagate(name: str) -> Callable[[Unknown, object], Any]:
    def operation(self: Unknown, other: object) -> Any:
        return UNKNOWN if isinstance(other, (int, float)) else NotImplemented

    operation.__name__ = name
    return operation


for _name in ("add", "sub", "mul", "truediv"):
    for _dunder in ("__%s__" % _name, "__r%s__" % _name):
        setattr(Unknown, _dunder, _propagate(_dunder))

UNKNOWN = Unknown("nan")


class Figures(Dict[str, float]):
    """What is known, by key. Subscripted with another key of LeZeA's it is UNKNOWN, no KeyError.

    `in`, `get`, iteration and `json.dumps` see the known keys only.
    """

    def __missing__(self, key: str) -> float:
        if key in KEYS or key == "elapsed_s":
            return UNKNOWN
        raise KeyError(key)


def figures(columns: Mapping[str, float]) -> Figures:
    """The figures of one scope's or run's columns."""
    known = Figures()
    for key, (names, unit) in KEYS.items():
        if all(name in columns for name in names):
            known[key] = sum(columns[name] for name in names) / unit
    return known
