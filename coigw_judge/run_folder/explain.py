"""Why a gate decided as it did on one record: every threshold beside the score that met it, and what screens said.

Read from a verdict and the run's gate, so it says what was decided then, whatever the job says now.
Not known here: what else could have been decided, how it is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from coigw_judge.run_folder import verdicts as verdict_rows
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.manifest import configuration
from coigw_judge.screens import Screens, as_finding

Met = Literal["passes", "review", "fails", "not known", "does not apply", "no threshold"]
SETTLED = ("screened", "duplicate", "unreadable")
"""Decisions that no gate made."""


@dataclass(frozen=True, slots=True)
class Test:
    """One threshold of the gate. `least`: a number, True where a check must be true, None where there is none.

    `met`: review means below the threshold and within the review band. `why`: why a value is not known.
    """

    item: str
    value: float | bool | None
    least: float | bool | None
    met: Met
    why: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """What one screen said of a record. `action`: what the run's job has that screen do."""

    screen: str
    text: str
    action: Literal["drop", "flag"]


def hits(run: Run, verdict: Mapping[str, Any]) -> list[Hit]:
    """The screens that hit a record, in the order of the verdict's `screens`; [] where an older run has none."""
    screens = Screens(configuration(run.manifest).screen)
    found = map(as_finding, verdict.get("screens") or ())
    return [Hit(each.screen, each.text, "drop" if screens.drops(each.screen) else "flag") for each in found]


def tests(run: Run, verdict: Mapping[str, Any]) -> list[Test]:
    """Every threshold of the run's gate against a verdict; [] for a row that was settled without the gate."""
    if verdict["decision"] in SETTLED:
        return []
    gate = run.manifest.gate
    over, require = verdict_rows.gate_items(run)
    expected = verdict["expected"] if verdict_rows.uses_expected(run) else {}
    found = [_score(name, gate, verdict, expected.get(name)) for name in over]
    if over:
        found.append(_total(over, gate, verdict))
    return found + [_check(name, verdict) for name in require]


def _score(name: str, gate: Mapping[str, Any], verdict: Mapping[str, Any], expected: float | None) -> Test:
    least, value = floor(gate["each"], name), verdict[name] if expected is None else expected
    if value is None:
        return _absent(name, least, verdict)
    if least is None:
        return Test(name, value, None, "no threshold")
    return Test(name, value, least, _met(value, least, gate["review"]["each"]))


def _total(over: Sequence[str], gate: Mapping[str, Any], verdict: Mapping[str, Any]) -> Test:
    least, value = gate["total"], verdict["total"]
    if value is None:
        missing = [name for name in over if verdict[name] is None and not _applies_not(name, verdict)]
        return Test("sum", None, least, "not known", f"{len(missing)} of {len(over)} scores are not known")
    return Test("sum", value, least, "no threshold" if least is None else _met(value, least, gate["review"]["total"]))


def _check(name: str, verdict: Mapping[str, Any]) -> Test:
    value = verdict[name]
    return _absent(name, True, verdict) if value is None else Test(name, value, True, "passes" if value else "fails")


def floor(each: Any, name: str) -> float | None:
    """The threshold that a dimension must reach by itself; a job names it, or its whole rubric, or all."""
    if isinstance(each, Mapping):
        found = each.get(name, each.get(name.partition(".")[0]))
        return None if found is None else float(found)
    return None if each is None else float(each)


def _met(value: float, least: float, band: float) -> Met:
    return "passes" if value >= least else "review" if value >= least - band else "fails"


def _absent(name: str, least: float | bool | None, verdict: Mapping[str, Any]) -> Test:
    if _applies_not(name, verdict):
        return Test(name, None, least, "does not apply", "the record lacks a text that it reads")
    rubric = name.partition(".")[0]
    if rubric in (verdict["skipped"] or ()):
        return Test(name, None, least, "not known", "not asked: the gate had decided (early exit)")
    asked = rubric in (verdict["asked"] or ())
    return Test(name, None, least, "not known", "asked, and no score came back" if asked else "not asked yet")


def _applies_not(name: str, verdict: Mapping[str, Any]) -> bool:
    return name.partition(".")[0] in (verdict["not_applicable"] or ())
