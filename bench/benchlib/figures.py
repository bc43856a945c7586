"""The results: one figure a comparison, printed as they come, or as JSON.

A figure is a median over rounds in which we and the peer took turns; its ratio is the median of the
rounds' ratios, with their quartiles. A budget bounds the ratio, or our own figure.
"""

import json
import statistics
from dataclasses import asdict, dataclass
from typing import IO, List, Optional, Sequence


# An interval wider than this says nothing about a difference of a hundredth or two.
MOST_NOISE = 0.04


@dataclass
class Figure:
    """`ours` and `theirs` in `unit`; `met` is None where there is no budget, or no telling."""

    row: str
    what: str
    unit: str
    ours: Optional[float] = None
    peer: str = ""
    theirs: Optional[float] = None
    ratio: Optional[float] = None
    ratio_low: Optional[float] = None
    ratio_high: Optional[float] = None
    budget: str = ""
    met: Optional[bool] = None
    absent: str = ""  # why there is no figure


class Report:
    """Collects figures; `seconds` is about how long one figure should be measured."""

    def __init__(self, out: IO[str], as_json: bool, seconds: float) -> None:
        self.seconds = seconds
        self.failures = 0
        self._out = out
        self._json = as_json
        self._row = ""
        self._figures: List[Figure] = []

    def begin(self, row: str) -> None:
        self._row = row
        if not self._json:
            print("\n" + row, file=self._out, flush=True)

    def alone(
        self, what: str, unit: str, ours: Sequence[float], at_most: Optional[float] = None
    ) -> None:
        """A figure of ours without a peer; `at_most` bounds its median."""
        figure = Figure(self._row, what, unit, ours=statistics.median(ours))
        if at_most is not None:
            figure.budget = "<= %g %s" % (at_most, unit)
            figure.met = figure.ours <= at_most
        self._add(figure)

    def against(
        self,
        what: str,
        unit: str,
        ours: Sequence[float],
        peer: str,
        theirs: Sequence[float],
        ratio_at_most: Optional[float] = None,
    ) -> None:
        """Ours and theirs, round by round; `ratio_at_most` bounds the median of ours / theirs."""
        ratios = sorted(a / b for a, b in zip(ours, theirs))
        low, middle, high = _quartiles(ratios)
        figure = Figure(
            self._row, what, unit, statistics.median(ours), peer, statistics.median(theirs),
            middle, low, high,
        )  # fmt: skip
        if ratio_at_most is not None:
            figure.budget = "<= %.3g x" % ratio_at_most
            figure.met = middle <= ratio_at_most
        self._add(figure)

    def ratio(
        self,
        what: str,
        interval: "tuple[float, float, float]",
        at_most: Optional[float] = None,
        within_noise: bool = False,
    ) -> None:
        """A ratio with the ends of its 95 % interval; `within_noise`: 1 must lie between them.

        That is not judged where the interval is wide: anything would pass.
        """
        middle, low, high = interval
        figure = Figure(self._row, what, "x", ratio=middle, ratio_low=low, ratio_high=high)
        if at_most is not None:
            figure.budget, figure.met = "<= %.3g x" % at_most, middle <= at_most
        if within_noise:
            figure.budget = "1 within the interval, or less"
            if low > 1 or high - low <= MOST_NOISE:
                figure.met = low <= 1
        self._add(figure)

    def absent(self, what: str, why: str) -> None:
        self._add(Figure(self._row, what, "", absent=why))

    def failed(self, why: str) -> None:
        self.failures += 1
        self._add(Figure(self._row, "the row", "", absent="failed: " + why, met=False))

    @property
    def ok(self) -> bool:
        return all(figure.met is not False for figure in self._figures)

    def summary(self) -> str:
        budgets = [figure for figure in self._figures if figure.met is not None]
        missed = ["%s: %s" % (f.row, f.what) for f in budgets if not f.met]
        unjudged = sum(1 for figure in self._figures if figure.budget and figure.met is None)
        text = "%d figures, %d budgets, %d missed, %d too noisy to tell" % (
            len(self._figures), len(budgets) + unjudged, len(missed), unjudged,
        )  # fmt: skip
        return text + ("".join("\n  missed " + name for name in missed))

    def _add(self, figure: Figure) -> None:
        self._figures.append(figure)
        if self._json:
            line = json.dumps({k: v for k, v in asdict(figure).items() if v not in (None, "")})
        else:
            line = _line(figure)
        print(line, file=self._out, flush=True)


def _quartiles(values: Sequence[float]) -> "tuple[float, float, float]":
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _line(figure: Figure) -> str:
    if figure.absent:
        return "  %-52s %s" % (figure.what, figure.absent)
    if figure.ours is None:
        text = "  %-52s ratio %.4g (95 %%: %.4g-%.4g)" % (
            figure.what, figure.ratio, figure.ratio_low, figure.ratio_high,
        )  # fmt: skip
    else:
        text = "  %-52s %10.4g %-8s" % (figure.what, figure.ours, figure.unit)
    if figure.theirs is not None:
        text += " %-34s %10.4g  ratio %.3g (%.3g-%.3g)" % (
            figure.peer, figure.theirs, figure.ratio, figure.ratio_low, figure.ratio_high,
        )  # fmt: skip
    if figure.budget:
        judged = {True: "met", False: "MISSED", None: "too noisy to tell"}[figure.met]
        text += "  budget %s: %s" % (figure.budget, judged)
    return text
