"""What a run's manifest says about the shape of its report: which scores there are, and the thresholds drawn in them.

Not known here: the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions (`rubric.dimension`) of a run, and its gate spelt out over them.

    `over`: those that count for the gate; `each`: the least of each, where there is one; `require`: checks.
    """

    dimensions: tuple[str, ...]
    checks: tuple[str, ...]
    over: tuple[str, ...]
    each: Mapping[str, float]
    require: tuple[str, ...]
    total: float | None
    review_total: float
    review_each: float


def shape_of(manifest: Mapping[str, Any], scores: list[str], checks: list[str]) -> Shape:
    """The shape of a run whose verdicts have these score and check columns."""
    gate = manifest["gate"]
    main = list(manifest["rubrics"])[: len(manifest["configuration"]["rubrics"])]
    asked = [name for name in scores if name.partition(".")[0] in main]
    over = asked if gate["over"] is None else _spelt(gate["over"], asked)
    return Shape(
        dimensions=tuple(scores),
        checks=tuple(checks),
        over=tuple(over),
        each=_each(gate["each"], over),
        require=tuple(_spelt(gate["require"], checks)),
        total=gate["total"],
        review_total=gate["review"]["total"],
        review_each=gate["review"]["each"],
    )


def _spelt(names: list[str], known: list[str]) -> list[str]:
    """The columns that rubrics or `rubric.item` stand for."""
    return [column for column in known if any(column == name or column.startswith(f"{name}.") for name in names)]


def _each(each: Any, over: list[str]) -> dict[str, float]:
    if each is None:
        return {}
    if not isinstance(each, dict):
        return dict.fromkeys(over, float(each))
    whole = {column: float(value) for name, value in each.items() for column in _spelt([name], over)}
    return whole | {name: float(value) for name, value in each.items() if name in over}
