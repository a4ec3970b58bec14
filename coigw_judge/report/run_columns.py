"""What a run's manifest says about the shape of its report: which scores there are, and the thresholds drawn in them.

Not known here: the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from coigw_judge.run_folder.explain import floor
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.verdicts import gate_items, uses_expected


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions (`rubric.dimension`) of a run, and its gate spelt out over them.

    `over`: those that count for the gate; `each`: the least of each, where there is one; `require`: checks; `expected`:
    whether it decided on expected scores.
    """

    dimensions: tuple[str, ...]
    checks: tuple[str, ...]
    over: tuple[str, ...]
    each: Mapping[str, float]
    require: tuple[str, ...]
    total: float | None
    review_total: float
    review_each: float
    expected: bool


def shape_of(run: Run) -> Shape:
    """The shape of a run."""
    gate = run.manifest.gate
    over, require = gate_items(run)
    return Shape(
        dimensions=tuple(run.items("score")),
        checks=tuple(run.items("check")),
        over=tuple(over),
        each={name: least for name in over if (least := floor(gate["each"], name)) is not None},
        require=tuple(require),
        total=gate["total"],
        review_total=gate["review"]["total"],
        review_each=gate["review"]["each"],
        expected=uses_expected(run),
    )
