"""Which rubrics can end a record, and the order that begins with the fewest fields.

A rubric whose values the gate does not look at never ends a record, so asking it before one that may is never cheaper:
such rubrics come last. `genre` stays first where the job asks it first, because the other rubrics wait for it.
How often each rubric ends a record: estimate/ask_order/. No order ever changes what a request says, or its key.
"""

from collections.abc import Sequence

from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import GENRE_RUBRIC
from coigw_judge.prompting.rubric import Rubric


def can_end(rubric: Rubric, gate: Gate, floor: float | None = None) -> bool:
    """Whether some answer of a rubric can make early exit stop. `floor`: as in Plan."""
    if any(f"{rubric.name}.{check.key}" in gate.require for check in rubric.checks):
        return True
    names = [f"{rubric.name}.{dimension.key}" for dimension in rubric.dimensions]
    if floor is not None and names:  # a score below the floor is what the other rubrics' failures wait for
        return True
    counted = names if gate.over is None else [name for name in names if name in gate.over]
    return bool(counted) and (gate.total is not None or any(gate.floor(name) is not None for name in counted))


def tied(rubrics: Sequence[Rubric], gate: Gate, floor: float | None = None) -> tuple[list[str], list[str], list[str]]:
    """The names that must come first, those whose order is free, and those that had better come last; as listed."""
    first = [rubric.name for rubric in rubrics[:1] if rubric.name == GENRE_RUBRIC]
    rest = rubrics[len(first) :]
    free = [rubric.name for rubric in rest if can_end(rubric, gate, floor)]
    return first, free, [rubric.name for rubric in rest if rubric.name not in free]


def fewest_fields(rubrics: Sequence[Rubric], gate: Gate, floor: float | None = None) -> tuple[Rubric, ...]:
    """The rubrics with those that read the fewest fields first; ties stay as listed."""
    by_name = {rubric.name: rubric for rubric in rubrics}
    first, free, last = tied(rubrics, gate, floor)
    names = (*first, *sorted(free, key=lambda name: len(by_name[name].fields)), *last)
    return tuple(by_name[name] for name in names)
