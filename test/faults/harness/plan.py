"""What is to go wrong in a trial, drawn from its seed: the same seed gives the same plan.

Pure. A fault waits for a phase of the trial, then for some milliseconds, writes or requests.
"""

import random
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence

from .harms import HARMS

#: What the trainer does when a fault is let loose; `deliver`: it has ended.
PHASES = ("begin", "work", "ending", "deliver")
#: How many writes the agent does from a phase on, about; drawn numbers may never be reached.
#: `start`: the agent itself begins.
WRITES = {"start": 50, "begin": 40, "work": 40, "ending": 80, "deliver": 50}
STATUSES = ("FINISHED", "FINISHED", "FAILED", "INTERRUPTED")


@dataclass(frozen=True)
class Fault:
    kind: str
    phase: str
    delay_ms: int = 0
    hold_ms: int = 0
    more: Dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        more = "".join(" %s=%s" % pair for pair in sorted(self.more.items()))
        return "%s@%s+%d/%d%s" % (self.kind, self.phase, self.delay_ms, self.hold_ms, more)


@dataclass(frozen=True)
class Trial:
    seed: str
    faults: Sequence[Fault]
    #: Whether the agent makes the MLflow run, or the harness has.
    creates: bool
    status: str
    #: False: the trainer ends without a word to the agent.
    ends: bool
    #: The run after it is the next attempt of the same: `no`, `later` when all is well, `at once`.
    again: str


def _phase(rng: random.Random, *among: str) -> str:
    return rng.choice(among or PHASES)


def _kill(rng: random.Random, kind: str) -> Fault:
    return Fault(kind, _phase(rng), delay_ms=rng.randrange(0, 300))


def _kill_write(rng: random.Random, kind: str) -> Fault:
    """Sometimes its successors die too, at their own starts."""
    phase = _phase(rng, *WRITES)
    nth = [rng.randrange(1, WRITES[phase])]
    nth += [rng.randrange(1, 40) for _ in range(rng.choice((0, 0, 1, 2)))]
    return Fault(kind, phase, more={"nth": tuple(nth), "how": rng.randrange(3)})


def _io(rng: random.Random, kind: str) -> Fault:
    phase = _phase(rng, *WRITES)
    nth = rng.randrange(1, WRITES[phase])
    return Fault(kind, phase, more={"nth": nth, "count": rng.choice((1, 1, 2, 3, 5, 10, 30))})


def _full(rng: random.Random, kind: str) -> Fault:
    left = rng.choice((0, 4, 16, 40, 100))
    hold = rng.randrange(100, 1500)
    return Fault(kind, _phase(rng), rng.randrange(0, 200), hold, {"left_kib": left})


def _kill_trainer(rng: random.Random, kind: str) -> Fault:
    return Fault(kind, _phase(rng, "begin", "work", "ending"), delay_ms=rng.randrange(0, 60))


def _tracker(rng: random.Random, kind: str) -> Fault:
    harm = kind.split("-", 1)[1]
    count = 1 if harm.startswith("hang") else rng.choice((1, 1, 2, 4, 7))
    more = {"after": rng.randrange(0, 16), "count": count}
    phase = "begin"
    if harm == "403":
        more["count"] = rng.choice((1, 2))
    if harm == "413":
        phase = "ending"
        more = {"after": 0, "count": 1000, "size": rng.choice((300, 1000, 3000, 8000))}
    return Fault(kind, phase, hold_ms=rng.randrange(500, 2000) if harm == "413" else 0, more=more)


def _refuse(rng: random.Random, kind: str) -> Fault:
    phase = _phase(rng, "ending", "deliver")
    return Fault(kind, phase, rng.randrange(0, 200), rng.randrange(50, 1500))


def _restart(rng: random.Random, kind: str) -> Fault:
    return Fault(kind, "ending", delay_ms=rng.randrange(0, 300))


def _clock(rng: random.Random, kind: str) -> Fault:
    hours = rng.choice((-1, 1)) * rng.choice((1, 3, 24, 24 * 30))
    return Fault(kind, _phase(rng), delay_ms=rng.randrange(0, 200), more={"hours": hours})


Draw = Callable[[random.Random, str], Fault]
KINDS: Dict[str, Draw] = {
    "kill": _kill,
    "stop": _kill,
    "kill-write": _kill_write,
    "eio": _io,
    "enospc": _io,
    "full-disk": _full,
    "kill-trainer": _kill_trainer,
    **{"tracker-" + harm: _tracker for harm in HARMS},
    "tracker-refuse": _refuse,
    "tracker-restart": _restart,
    "clock": _clock,
}
#: How often, beside 1.
WEIGHTS = {"kill-write": 8, "kill": 3, "eio": 3, "enospc": 3, "kill-trainer": 3, "clock": 2,
           "tracker-restart": 0.2, "tracker-hang": 0.7, "tracker-hang-after": 0.7}  # fmt: skip


def draw(seed: str, only: Optional[Sequence[str]]) -> Trial:
    """The plan of one trial."""
    rng = random.Random(seed)
    kinds = list(only or KINDS)
    weights = [WEIGHTS.get(kind, 1) for kind in kinds]
    chosen: List[str] = []
    for kind in rng.choices(kinds, weights, k=rng.choice((1, 1, 2))):
        # Two of a family would undo each other.
        if not any(family(kind) == family(other) for other in chosen):
            chosen.append(kind)
    return Trial(
        seed=seed,
        faults=tuple(KINDS[kind](rng, kind) for kind in chosen),
        creates=rng.random() < 0.25,
        status=rng.choice(STATUSES),
        ends=rng.random() < 0.85,
        again=rng.choice(("no", "no", "later", "at once")),
    )


def family(kind: str) -> str:
    if kind.startswith("tracker-"):
        return "tracker"
    return "disk" if kind in ("eio", "enospc", "full-disk") else kind
