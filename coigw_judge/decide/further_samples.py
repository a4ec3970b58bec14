"""More than one sample of a record: who gets them, and what their scores come to (`samples` of a job).

Near a threshold one reply decides by chance; far from it a second one changes nothing. So a record whose first samples
lie within the review band of a threshold, above or below, is asked `borderline` times in all, every other one `count`
times (prompting/samples.py). Further samples are drawn at a temperature of their own, which is part of their keys.
The gate then sees the median or the mean of the scores. All else (checks, choices, notes, reasons) stays the first
sample's, and a further sample that failed is left out: it never makes a record unscored.
Which samples are due follows from the first ones alone, so it does not move while they are asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

from coigw_judge.decide.gate import Gate, rubric_of
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.prompting.samples import SampleKind
from coigw_judge.replies.outcome import Scored, Unscored

Middle = Literal["median", "mean"]
Others = Mapping[str, Sequence[Scored | Unscored | None]]
"""Further samples by rubric, in order of their numbers; None for one that was not asked yet."""

DRAWN_AT = 0.7
"""Their temperature where the job gives none and its judge answers at 0."""

FLAG = "sampled"
"""How a fact says that it is a further sample, and how it was drawn: `sampled:temperature 0.7, seed 2000`."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often records are asked."""

    count: int = 1
    """Samples of every record."""
    borderline: int = 1
    """Samples of records near a threshold."""
    use: Middle = "median"
    """What several samples of a score come to."""
    temperature: float = DRAWN_AT
    """Of further samples."""
    dropped: bool = False
    """Whether records that the gate drops get their `count` too (without early exit)."""

    @property
    def most(self) -> int:
        """Samples that a record gets at the most, `repeat`'s not counted."""
        return max(self.count, self.borderline)

    def due(self, card: Scorecard, gate: Gate) -> dict[str, int]:
        """By rubric how many samples a record is due in all, by the card of its first ones; rubrics with one are left
        out, and those that give the gate no score. Nothing where a first sample that decides is missing or failed."""
        decision = card.decide(gate).decision
        if self.most == 1 or decision == "pending" or (decision == "dropped" and not self.dropped):
            return {}
        scored = tuple(card.scores())
        looked_at = scored if gate.over is None else [name for name in gate.over if name in scored]
        due = dict.fromkeys(map(rubric_of, looked_at), self.count)
        if self.borderline > self.count and decision in ("kept", "review"):
            due |= dict.fromkeys(map(rubric_of, card.near(gate)), self.borderline)
        return {rubric: samples for rubric, samples in due.items() if samples > 1}

    def temperature_of(self, sample: int) -> float | None:
        """What a sample is drawn at; None where the judge's own sampling holds."""
        return self.temperature if SampleKind.of(sample) is SampleKind.FURTHER else None


def merged(card: Scorecard, others: Others, use: Middle) -> Scorecard:
    """The card of the first samples with the scores that all samples come to."""
    facts = dict(card.facts)
    count: dict[str, int] = {}
    spread: dict[str, float] = {}
    for rubric, further_ones in others.items():
        first = facts[rubric]
        scored = [fact for fact in (first, *further_ones) if isinstance(fact, Scored)]
        if not isinstance(first, Scored) or len(scored) == 1:
            continue
        by_key = {key: [fact.scores[key] for fact in scored] for key in first.scores}
        middle = median if use == "median" else fmean
        facts[rubric] = replace(first, scores={key: float(middle(values)) for key, values in by_key.items()})
        spread |= {f"{rubric}.{key}": max(values) - min(values) for key, values in by_key.items()}
        count[rubric] = len(scored)
    return replace(card, facts=facts, samples=count, spread=spread)
