"""The gate: from scores and checks to a decision. Pure, so that moving a threshold asks the judge nothing.

The paper's gate (section 2.2) is `Gate(total=50, each=8)` over six dimensions of 0-10: the sum is at least 50
and each is at least 8. Thresholds are compared with unrounded sums.
A value that is not known yet (None) is read both ways: as high as its scale goes, to see whether the record can
still pass, and never as a low score. So a record fails only on what the judge did say.
Not known here: rubrics, why a value is missing, which rubrics did not apply.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["kept", "review", "dropped", "pending"]
ReasonKind = Literal["total", "each", "require", "not_applicable", "unknown"]
Use = Literal["sampled", "expected"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a gate did not keep a record: the half of the gate, and a sentence such as `answer.quality 7 < 8`."""

    kind: ReasonKind
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a gate says of one record. `total` is the sum over the gate's dimensions, None while one is unknown."""

    decision: Outcome
    reasons: tuple[Reason, ...] = ()
    total: float | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Thresholds over scores, and checks that must be true.

    `over` names the dimensions that count (None: every score given). `each` is one threshold or one per
    dimension. `review_total` and `review_each` are how far below the gate a record still goes to people.
    `tops` are the highest possible scores, for what can still be reached. `use` says which of a record's numbers are
    meant: decide/scorecard.py reads it, `decide` takes what it is given.
    """

    total: float | None = None
    each: float | Mapping[str, float] | None = None
    over: tuple[str, ...] | None = None
    require: tuple[str, ...] = ()
    review_total: float = 0
    review_each: float = 0
    tops: Mapping[str, float] = field(default_factory=dict)
    use: Use = "sampled"

    def decide(self, scores: Mapping[str, float | None], checks: Mapping[str, bool | None] | None = None) -> Decision:
        """Decide on scores by dimension and checks by name; None, NaN or a name of `over` left out is not known.

        Returns `kept` or `dropped`; `review` where the record misses the gate by no more than the review band
        and all checks are true; `pending` where that depends on a value not known.
        """
        checks = checks or {}
        names = tuple(scores) if self.over is None else self.over
        values = {name: _known(scores.get(name)) for name in names}
        known_checks = {name: checks.get(name) for name in self.require}
        unknown = [n for n, v in (*values.items(), *known_checks.items()) if v is None]
        failures = [*self._failed_checks(known_checks), *self._failed_each(values, 0), *self._failed_total(values, 0)]
        total = (
            None if any(v is None for v in values.values()) else math.fsum(v for v in values.values() if v is not None)
        )
        if not failures and not unknown:
            return Decision("kept", (), total)
        if not self._in_band(values, known_checks):
            return Decision("dropped", tuple(failures), total)
        if unknown:
            missing = (Reason("unknown", f"{name} is not known") for name in unknown)
            return Decision("pending", (*failures, *missing), total)
        return Decision("review", tuple(failures), total)

    def near(self, scores: Mapping[str, float | None]) -> tuple[str, ...]:
        """The dimensions of `over` that lie no farther from their threshold than the review band, above it or below.

        All of them where their sum lies so near the total. A band of 0 is none: nothing is near by that half.
        """
        names = tuple(scores) if self.over is None else self.over
        values = {name: value for name in names if (value := _known(scores.get(name))) is not None}
        total = math.fsum(values.values()) if len(values) == len(names) else None
        if self.total is not None and total is not None and _within(total, self.total, self.review_total):
            return names
        floors = ((name, value, self.floor(name)) for name, value in values.items())
        return tuple(n for n, value, floor in floors if floor is not None and _within(value, floor, self.review_each))

    def _in_band(self, values: Mapping[str, float | None], checks: Mapping[str, bool | None]) -> bool:
        """Whether kept or review is possible, unknown values at their best."""
        return not (
            any(True for _ in self._failed_checks(checks))
            or any(True for _ in self._failed_each(values, self.review_each))
            or any(True for _ in self._failed_total(values, self.review_total))
        )

    def _failed_checks(self, checks: Mapping[str, bool | None]) -> Iterable[Reason]:
        for name, value in checks.items():
            if value is False:
                yield Reason("require", f"{name} is false")

    def _failed_each(self, values: Mapping[str, float | None], slack: float) -> Iterable[Reason]:
        for name, value in values.items():
            floor = self.floor(name)
            if floor is not None and value is not None and value < floor - slack:
                yield Reason("each", f"{name} {value:g} < {floor:g}")

    def _failed_total(self, values: Mapping[str, float | None], slack: float) -> Iterable[Reason]:
        if self.total is None:
            return
        best = math.fsum(self.tops.get(n, math.inf) if v is None else v for n, v in values.items())
        if best < self.total - slack:
            sign = "total" if all(v is not None for v in values.values()) else "total at most"
            yield Reason("total", f"{sign} {best:g} < {self.total:g}")

    def floor(self, name: str) -> float | None:
        """The threshold that a dimension must reach by itself, if it has one."""
        return self.each.get(name) if isinstance(self.each, Mapping) else self.each


def _within(value: float, threshold: float, band: float) -> bool:
    return band > 0 and threshold - band <= value <= threshold + band


def _known(value: float | None) -> float | None:
    """NaN is what data frames make of None; no comparison with it ever fails, so it must not count as a score."""
    return None if value is None or math.isnan(value) else value
