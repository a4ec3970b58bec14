"""The gate: from scores and checks to a decision. Pure, so that moving a threshold asks the judge nothing.

`Gate.assess` is the one reading of a gate: for every threshold the value, the least, and what came of it. The decision
follows from it, and so do explanations of a verdict, sweeps, and gates chosen by labels (gate_columns.py).

The paper's gate (section 2.2) is `Gate(total=50, each=8)` over six dimensions of 0-10: the sum is at least 50
and each is at least 8. Thresholds are compared with unrounded sums.
A score that is not known (None, NaN, left out) never counts as low: the sum takes it to be as high as its scale goes.
So a record fails only on what the judge did say. What does not apply to a record counts neither way.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Outcome = Literal["kept", "review", "dropped", "pending"]
AtBest = Literal["kept", "review", "dropped"]
ReasonKind = Literal["total", "each", "require", "not_applicable", "unknown"]
Use = Literal["sampled", "expected"]
Met = Literal["passes", "review", "fails", "not known", "does not apply", "no threshold"]

SUM = "sum"
"""The item of the comparison with `total`."""


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


class Comparison(NamedTuple):
    """One threshold, and what came of it."""

    item: str
    """A dimension or check as `rubric.key`, or SUM."""
    value: float | None
    """A score, a sum, True or False; None where it is not known or does not apply."""
    best: float
    """The value; while it is not known, the highest that it can be."""
    least: float | None
    """What the value must reach: a number, True for a check, None where there is no threshold."""
    met: Met
    """`review` is below the threshold and within the review band. A sum that is not known yet may fail already."""


class Assessment(NamedTuple):
    """A record beside all thresholds of a gate."""

    scores: tuple[Comparison, ...]
    """Of the dimensions that count, in the gate's order."""
    total: Comparison
    """Of their sum. It does not apply where nothing of the gate does."""
    checks: tuple[Comparison, ...]
    """Of the checks that must be true."""

    @property
    def at_best(self) -> AtBest:
        """The best decision that the record can still get, whatever comes of what is not known."""
        met = {self.total.met, *[one.met for one in self.scores]}
        if "fails" in met or self.lost:
            return "dropped"
        return "review" if "review" in met else "kept"

    @property
    def lost(self) -> bool:
        """Whether a check failed, or nothing of the gate applies: then no thresholds of scores let the record pass."""
        return self.total.met == "does not apply" or any(check.met == "fails" for check in self.checks)

    @property
    def unknown(self) -> list[str]:
        """The dimensions and checks that are not known."""
        return [item.item for item in (*self.scores, *self.checks) if item.met == "not known"]

    @property
    def decision(self) -> Decision:
        """What is decided: `pending` where that depends on a value not known. A record to which nothing of the gate
        applies has not passed it."""
        at_best = self.at_best
        unknown = self.unknown
        if at_best == "kept" and not unknown:
            return Decision("kept", (), self.total.value)
        reasons = [Reason("require", f"{check.item} is false") for check in self.checks if check.met == "fails"]
        reasons += [Reason("each", _below(one, one.item)) for one in self.scores if one.met in ("fails", "review")]
        if self.total.met in ("fails", "review"):
            reasons.append(
                Reason("total", _below(self.total, "total at most" if self.total.value is None else "total"))
            )
        pending = bool(unknown) and at_best != "dropped"
        if pending:
            reasons += [Reason("unknown", f"{name} is not known") for name in unknown]
        reasons += self._not_applicable()
        return Decision("pending" if pending else at_best, tuple(reasons), self.total.value)

    def _not_applicable(self) -> list[Reason]:
        """What does not apply, where that lets the record fail: a threshold of the sum stays as it is."""
        rubrics = {rubric_of(item.item) for item in (*self.scores, *self.checks) if item.met == "does not apply"}
        named = ", ".join(sorted(rubrics))
        if self.total.met == "does not apply":
            return [Reason("not_applicable", f"no rubric of the gate applies ({named})")]
        fails = rubrics and self.total.met in ("fails", "review")
        return [Reason("not_applicable", f"does not apply: {named}")] if fails else []


@dataclass(frozen=True, slots=True)
class Gate:
    """Thresholds over scores, and checks that must be true.

    In a job and in a manifest a gate is bound to its rubrics (job/gate.py): `over`, `each` and `require` name every
    dimension and check, and `tops` is complete.
    """

    total: float | None = None
    """The least sum over the dimensions that count; None: no threshold."""
    each: float | Mapping[str, float] | None = None
    """The least of each dimension: one threshold for all, or one per dimension."""
    over: tuple[str, ...] | None = None
    """The dimensions that count, as `rubric.dimension`; None: every score given."""
    require: tuple[str, ...] = ()
    """The checks that must be true, as `rubric.check`."""
    review_total: float = 0
    """How far below `total` a record still goes to people."""
    review_each: float = 0
    """How far below `each` a record still goes to people."""
    tops: Mapping[str, float] = field(default_factory=dict)
    """The highest possible score by dimension, for what can still be reached; without bound where it is missing."""
    use: Use = "sampled"
    """Which of a record's scores are meant: Scorecard reads it, `decide` and `assess` take what they are given."""

    def decide(self, scores: Mapping[str, float | None], checks: Mapping[str, bool | None] | None = None) -> Decision:
        """Decide on scores by dimension and checks by name; None, NaN or a name of `over` left out is not known."""
        return self.assess(scores, checks or {}).decision

    def assess(
        self,
        scores: Mapping[str, float | None],
        checks: Mapping[str, bool | None],
        not_applicable: Collection[str] = (),
    ) -> Assessment:
        """Every threshold beside what is known of a record; None, NaN or a name left out is not known.

        `not_applicable` are rubrics. What does not apply is left out of `each` and `require`. It cannot be left out of
        a sum, so a total stays as it is.
        """
        names = scores if self.over is None else self.over
        compared = tuple([self._score(name, scores.get(name), not_applicable) for name in names])
        checked = tuple([_check(name, checks.get(name), not_applicable) for name in self.require])
        return Assessment(compared, self._total(compared, checked), checked)

    def near(self, scores: Mapping[str, float | None], not_applicable: Collection[str] = ()) -> tuple[str, ...]:
        """The dimensions that lie no farther from their threshold than the review band, above it or below.

        All of them where their sum lies so near the total. A band of 0 is none: nothing is near by that half.
        """
        found = self.assess(scores, {}, not_applicable)
        if _near(found.total, self.review_total):
            return tuple(one.item for one in found.scores if one.met != "does not apply")
        return tuple(one.item for one in found.scores if _near(one, self.review_each))

    def floor(self, name: str) -> float | None:
        """The threshold that a dimension must reach by itself, if it has one."""
        return self.each.get(name) if isinstance(self.each, Mapping) else self.each

    @property
    def floors(self) -> dict[str, float]:
        """The threshold of every dimension of `over` that has one."""
        return {name: least for name in self.over or () if (least := self.floor(name)) is not None}

    def _score(self, name: str, value: float | None, not_applicable: Collection[str]) -> Comparison:
        least = self.floor(name)
        if not_applicable and rubric_of(name) in not_applicable:
            return Comparison(name, None, 0.0, least, "does not apply")
        if value is None or math.isnan(value):  # NaN is what data frames make of None
            return Comparison(name, None, self.tops.get(name, math.inf), least, "not known")
        return Comparison(name, value, value, least, _met(value, least, self.review_each))

    def _total(self, scores: Iterable[Comparison], checks: Iterable[Comparison]) -> Comparison:
        met = {one.met for one in scores}
        if "does not apply" in met or not met:
            every = met | {check.met for check in checks}
            if every == {"does not apply"}:
                return Comparison(SUM, None, 0.0, self.total, "does not apply")
        best = math.fsum([one.best for one in scores])
        against = _met(best, self.total, self.review_total)
        if "not known" not in met:
            return Comparison(SUM, best, best, self.total, against)
        return Comparison(SUM, None, best, self.total, against if against in ("fails", "review") else "not known")


def rubric_of(item: str) -> str:
    """The rubric of a dimension or check."""
    return item.partition(".")[0]


def _check(name: str, value: bool | None, not_applicable: Collection[str]) -> Comparison:
    if not_applicable and rubric_of(name) in not_applicable:
        return Comparison(name, None, True, True, "does not apply")
    if value is None:
        return Comparison(name, None, True, True, "not known")
    return Comparison(name, value, value, True, "passes" if value else "fails")


def _met(value: float, least: float | None, band: float) -> Met:
    if least is None:
        return "no threshold"
    return "passes" if value >= least else "review" if value >= least - band else "fails"


def _near(one: Comparison, band: float) -> bool:
    if one.value is None or one.least is None or not band:
        return False
    return one.least - band <= one.value <= one.least + band


def _below(one: Comparison, name: str) -> str:
    return f"{name} {one.best:g} < {one.least or 0:g}"
