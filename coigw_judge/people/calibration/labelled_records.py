"""What calibrate's figures are made of: the labelled records, their weights, and what the judge said of an item."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from coigw_judge.people.calibration.agreement import Bootstrap, Floats
from coigw_judge.people.labels.join import LabelledRecord
from coigw_judge.people.labels.read import OVERALL
from coigw_judge.run_folder.folder import Run

Missing = Literal["excluded", "dropped"]
_NOT_JUDGED = {
    "pending": "pending: the judge was not asked yet",
    "screened": "screened: settled before the judge",
    "duplicate": "duplicate: another row stands for it",
    "unreadable": "unreadable",
}


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """How to calibrate (`coigw-judge calibrate`)."""

    by: str = "genre"
    """The column of the verdicts that figures are grouped by."""
    round: int | None = None
    """Only the labels of this round."""
    recall: float | None = None
    """A further wanted recall."""
    accept_at: float | None = None
    """The number for `overall` from which it counts as accept."""
    missing: Missing = "excluded"
    """What becomes of rows that the run did not decide: left out, or taken as dropped."""
    weighted: bool = True
    """Whether labels count by their weights, where they have any."""
    how: Bootstrap = field(default_factory=Bootstrap)


@dataclass(frozen=True, slots=True)
class LabelledRecords:
    """The labelled records with all that the figures need."""

    run: Run
    scores: tuple[str, ...]
    """All that the run has, as `rubric.dimension`."""
    checks: tuple[str, ...]
    """All that the run has, as `rubric.check`."""
    records: tuple[LabelledRecord, ...]
    weights: Floats | None
    """Of the records; None where all weigh alike."""
    options: CalibrateOptions

    def weights_of(self, places: Sequence[int]) -> Floats | None:
        """The weights of some records, None where all weigh alike."""
        return None if self.weights is None else self.weights[list(places)]

    def group_of(self, n: int) -> str:
        """The value of a record in the column that figures are grouped by."""
        value = self.records[n].verdict[self.options.by]
        return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def judged(record: LabelledRecord, item: str, scores: Sequence[str], checks: Sequence[str]) -> float | str:
    """The judge's number for an item, or why there is none.

    `scores` and `checks` are all that the run has. `overall` is the sum that the gate looks at. A rubric is the mean
    over its dimensions; where it has only checks, 1 if all are true.
    """
    verdict = record.verdict
    if item == OVERALL:
        values = [verdict["total"]]
    elif item in scores or item in checks:
        values = [verdict[item]]
    else:
        own = [name for name in scores if name.startswith(f"{item}.")]
        values = [verdict[name] for name in own or checks if name.startswith(f"{item}.")]
    if not values or any(value is None for value in values):
        return _why_no_number(verdict, "" if item == OVERALL else item.partition(".")[0])
    if all(isinstance(value, bool) for value in values):
        return float(all(values))
    return math.fsum(values) / len(values)


def _why_no_number(verdict: Mapping[str, Any], rubric: str) -> str:
    decision = verdict["decision"]
    if decision in _NOT_JUDGED:
        return _NOT_JUDGED[decision]
    if decision == "unscored" and (not rubric or rubric in (verdict["asked"] or ())):
        return "unscored: the judge failed"
    if rubric in (verdict["not_applicable"] or ()):
        return "does not apply"
    if rubric in (verdict["skipped"] or ()) or (not rubric and verdict["skipped"]):
        return "not asked: the gate had decided (early exit)"
    if not rubric:
        return "no sum: not all scores are known"
    return "unscored: the judge failed" if rubric in (verdict["asked"] or ()) else "not asked"
