"""What a run or a scope has consumed, as `run.usage()` returns it.

Reads the reply of the `run.usage` request; owns nothing. A column that the agent could not
measure has no key in the reply and reads as None here, never as 0.
"""

from typing import Any, Dict, Mapping, Optional

# Every column that an agent of this protocol may send, in base units (seconds, bytes, joules).
COLUMNS = frozenset(
    (
        "cpu_seconds",
        "cpu_user_seconds",
        "cpu_system_seconds",
        "runqueue_wait_seconds",
        "memory_byte_seconds",
        "memory_peak_bytes",
        "memory_bytes",
        "io_read_bytes",
        "io_write_bytes",
        "io_cancelled_write_bytes",
        "io_logical_read_bytes",
        "io_logical_write_bytes",
        "io_read_ops",
        "io_write_ops",
        "minor_faults",
        "major_faults",
        "voluntary_switches",
        "involuntary_switches",
        "active_seconds",
        "activations",
        "gpu_active_seconds",
        "gpu_allocated_seconds",
        "gpu_memory_byte_seconds",
        "gpu_memory_peak_bytes",
        "gpu_energy_joules",
        "cpu_energy_joules",
        "network_receive_bytes",
        "network_transmit_bytes",
        "cost",
    )
)


class Columns:
    """Totals by column: an attribute each, None where unknown; all that is known in `columns`."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self.columns: Dict[str, float] = {
            name: value
            for name, value in columns.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }

    def __getattr__(self, name: str) -> Optional[float]:
        columns = self.__dict__.get("columns", {})
        if name in columns or name in COLUMNS:
            return columns.get(name)
        raise AttributeError("no column is called %r" % name)

    def __repr__(self) -> str:
        return "%s(%r)" % (type(self).__name__, self.columns)


class Usage(Columns):
    """Inclusive totals; `self_` without children, `unattributed` only for a whole run."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        super().__init__(_mapping(reply, "inclusive"))
        self.self_ = Columns(_mapping(reply, "self"))
        self.unattributed = Columns(_mapping(reply, "unattributed"))
        self.path: Optional[str] = reply.get("scope")
        self.status: Optional[str] = reply.get("status")


def _mapping(reply: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = reply.get(name)
    return value if isinstance(value, dict) else {}
