"""The shape of a run's report: which scores and checks there are, and the gate whose thresholds are drawn in them."""

from dataclasses import dataclass

from coigw_judge.decide.gate import Gate
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.gate import gate_of


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions (`rubric.dimension`) and checks of a run, and its gate."""

    dimensions: tuple[str, ...]
    checks: tuple[str, ...]
    gate: Gate

    @property
    def uses_expected(self) -> bool:
        """Whether the gate decided on expected scores."""
        return self.gate.use == "expected"


def shape_of(run: Run) -> Shape:
    """The shape of a run."""
    return Shape(tuple(run.items("score")), tuple(run.items("check")), gate_of(run))
