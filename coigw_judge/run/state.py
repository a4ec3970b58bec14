"""The state of a run, from its scan to its manifest."""

from collections.abc import Callable
from dataclasses import dataclass, field

from coigw_judge.fill.ledger import FillTally
from coigw_judge.job.fingerprints import Planned
from coigw_judge.job.job import LoadedJob
from coigw_judge.run_folder.manifest import PlannedFigures
from coigw_judge.scan.rows import Scan
from coigw_judge.standing.join import JoinInput
from coigw_judge.store.parts import Store

Say = Callable[[str], None]


@dataclass(slots=True)
class Stage:
    """A run between two stages: its job and store, the scan, the plan, and the counts of its fill."""

    job: LoadedJob
    store: Store
    scan: Scan
    """The input's rows, read and screened."""
    planned: Planned
    """The plan, and the judge that it is for."""
    run: str
    """The run's name, also of its folder."""
    retry_unscored: bool = False
    """Whether requests that got no score before are asked again."""
    log_level: str = "info"
    """Of the judge's processes."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time taken, by stage: `scan`, `startup`, `fill`, `select`."""
    tally: FillTally = field(default_factory=FillTally)
    """What the fill did, over all its rounds."""
    estimate: PlannedFigures | None = None
    """What was planned before the first ask (estimate.RunEstimate.short)."""

    def inputs(self) -> JoinInput:
        """What survey and select join: scan, store and plan."""
        drop = self.job.config.screen.duplicate == "drop"
        return JoinInput(
            store=self.store.root,
            scan=self.scan,
            plan=self.planned.plan,
            pairs=self.planned.pairs,
            drop_duplicates=drop,
        )
