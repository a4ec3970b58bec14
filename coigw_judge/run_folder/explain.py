"""Why a gate decided as it did on one record: every threshold beside the score that met it, and what screens said.

Read from a verdict and the run's own gate, so it says what was decided then, whatever the job says now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from coigw_judge.decide.decisions import WITHOUT_GATE
from coigw_judge.decide.gate import Assessment, Comparison, Gate, Met, rubric_of
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.manifest import configuration
from coigw_judge.screens.all_screens import Screens, as_finding


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold of the gate, and what came of it."""

    item: str
    """A dimension or check as `rubric.key`, or `sum`."""
    value: float | bool | None
    """What the judge gave; None where it is not known."""
    least: float | bool | None
    """What it must reach: a number, True where a check must be true, None where there is no threshold."""
    met: Met
    """Review means below the threshold and within the review band, or at best there."""
    why: str = ""
    """Why the value is not known."""


@dataclass(frozen=True, slots=True)
class ScreenHit:
    """What one screen said of a record."""

    screen: str
    text: str
    action: Literal["drop", "flag"]
    """What the run's job has that screen do."""


def screen_hits(run: Run, verdict: Mapping[str, Any]) -> list[ScreenHit]:
    """The screens that hit a record, in the order of the verdict's `screens`; [] where an older run has none."""
    screens = Screens(configuration(run.manifest).screen)
    findings = map(as_finding, verdict.get("screens") or ())
    return [ScreenHit(one.screen, one.text, "drop" if screens.drops(one.screen) else "flag") for one in findings]


def thresholds(gate: Gate, verdict: Mapping[str, Any]) -> list[Threshold]:
    """Every threshold of a run's gate beside a verdict; [] for a row that was settled without the gate."""
    if verdict["decision"] in WITHOUT_GATE:
        return []
    assessment = assess(gate, verdict)
    scores, checks = ([_threshold(one, verdict) for one in part] for part in (assessment.scores, assessment.checks))
    return [*scores, _sum(assessment), *checks] if scores else checks


def assess(gate: Gate, verdict: Mapping[str, Any]) -> Assessment:
    """What the gate says of a verdict's scores and checks."""
    items = (*(gate.over or ()), *gate.require)
    values = {name: verdict.get(name) for name in items}
    if gate.use == "expected":  # a sampled score stands in where there is none, as in Scorecard.scores
        values |= {name: value for name, value in verdict["expected"].items() if name in values and value is not None}
    return gate.assess(values, values, verdict["not_applicable"] or ())


def _threshold(one: Comparison, verdict: Mapping[str, Any]) -> Threshold:
    return Threshold(one.item, one.value, one.least, one.met, "" if one.value is not None else _why(one, verdict))


def _sum(assessment: Assessment) -> Threshold:
    total, unknown = assessment.total, sum(one.met == "not known" for one in assessment.scores)
    why = f"{unknown} of {len(assessment.scores)} scores are not known" if unknown else ""
    if unknown and total.met != "not known":
        why = f"at most {total.best:g}: {why}"
    return Threshold(total.item, total.value, total.least, total.met, why)


def _why(one: Comparison, verdict: Mapping[str, Any]) -> str:
    rubric = rubric_of(one.item)
    if one.met == "does not apply":
        return "the record lacks a text that it reads"
    if rubric in (verdict["skipped"] or ()):
        return "not asked: the gate had decided (early exit)"
    return "asked, and no score came back" if rubric in (verdict["asked"] or ()) else "not asked yet"
