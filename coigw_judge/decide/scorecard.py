"""A scorecard: all that is known of one record, rubric by rubric, and its decision under a gate.

A rubric is not applicable (the record lacks a field it reads), not asked yet, Scored, or Unscored with a
cause. Only Scored gives numbers. A record whose decision depends on an Unscored rubric is `unscored`, never bad.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from coigw_judge.decide.gate import Assessment, Decision, Gate, Use
from coigw_judge.replies.outcome import Scored, Unscored

Final = Literal["kept", "review", "dropped", "pending", "unscored"]
Action = Literal["accept", "refine", "remove"]


@dataclass(frozen=True, slots=True)
class Scorecard:
    """What is known of one record."""

    facts: Mapping[str, Scored | Unscored | None]
    """By rubric that applies; None: not asked."""
    not_applicable: tuple[str, ...] = ()
    """The rubrics that do not apply, as the record lacks a field that they read."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """By rubric how many samples its scores rest on, where there are several (further_samples.py)."""
    spread: Mapping[str, float] = field(default_factory=dict)
    """By `rubric.dimension` how far the highest of several samples lies above the lowest."""

    def scores(self, use: Use = "sampled") -> dict[str, float]:
        """Every score, as `rubric.dimension`: the sampled ones, or the expected ones.

        Where there is no expected score the sampled one stands in. The row then carries the flag `expected_missing`.
        """
        sampled = {f"{r}.{k}": v for r, fact in self._scored() for k, v in fact.scores.items()}
        return sampled if use == "sampled" else sampled | self.expected()

    def expected(self) -> dict[str, float]:
        """Every expected score that there is, as `rubric.dimension`."""
        return {f"{r}.{k}": v for r, fact in self._scored() for k, v in fact.expected.items() if v is not None}

    def checks(self) -> dict[str, bool]:
        """Every check, as `rubric.check`."""
        return {f"{r}.{k}": v for r, fact in self._scored() for k, v in fact.checks.items()}

    def choices(self) -> dict[str, str]:
        """Every choice, as `rubric.choice`."""
        return {f"{r}.{k}": v for r, fact in self._scored() for k, v in fact.choices.items()}

    def reasons(self) -> dict[str, str]:
        """The judge's reasons, as `rubric.item`."""
        return {f"{r}.{k}": v for r, fact in self._scored() for k, v in fact.reasons.items()}

    def notes(self) -> dict[str, str]:
        """The judge's notes, as `rubric.note`."""
        return {f"{r}.{k}": v for r, fact in self._scored() for k, v in fact.notes.items()}

    def asked(self) -> list[str]:
        """Rubrics that were asked, scored or not."""
        return [rubric for rubric, fact in self.facts.items() if fact is not None]

    def not_asked(self) -> list[str]:
        """Rubrics that apply and were not asked."""
        return [rubric for rubric, fact in self.facts.items() if fact is None]

    def failed(self) -> dict[str, Unscored]:
        """Rubrics that were asked and gave no score."""
        return {rubric: fact for rubric, fact in self.facts.items() if isinstance(fact, Unscored)}

    def decide(self, gate: Gate) -> Decision:
        """The gate's decision on what is known."""
        return self.assess(gate).decision

    def assess(self, gate: Gate) -> Assessment:
        """Every threshold of the gate beside what is known."""
        return gate.assess(self.scores(gate.use), self.checks(), self.not_applicable)

    def near(self, gate: Gate) -> tuple[str, ...]:
        """The dimensions that lie near a threshold of the gate (Gate.near), of those that apply."""
        return gate.near(self.scores(gate.use), self.not_applicable)

    def final(self, gate: Gate, complete: bool) -> tuple[Final, Decision]:
        """The decision of the record's row. `complete`: no request is left to ask (plan.next is empty)."""
        decision = self.decide(gate)
        if not complete:
            return "pending", decision
        if decision.decision != "pending":
            return decision.decision, decision
        return ("unscored" if self.failed() else "pending"), decision

    def action(self, final: Final) -> Action | None:
        """What people should do: remove where a check of rubric `removal` failed (paper, 2.3); else refine, accept."""
        if any(not value for name, value in self.checks().items() if name.startswith("removal.")):
            return "remove"
        if final == "kept":
            return "accept"
        return "refine" if final == "dropped" else None

    def _scored(self) -> Sequence[tuple[str, Scored]]:
        return [(rubric, fact) for rubric, fact in self.facts.items() if isinstance(fact, Scored)]
