"""What a run has found out so far."""

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
    """What a run has found out so far; times in seconds by stage."""

    job: LoadedJob
    store: Store
    scan: Scan
    planned: Planned
    run: str
    retry_unscored: bool = False
    log_level: str = "info"
    seconds: dict[str, float] = field(default_factory=dict)
    tally: FillTally = field(default_factory=FillTally)
    estimate: PlannedFigures | None = None
    """What was planned before the first ask (estimate.RunEstimate.short)."""

    def inputs(self) -> JoinInput:
        """What scan and store say now."""
        drop = self.job.config.screen.duplicate == "drop"
        return JoinInput(
            store=self.store.root,
            scan=self.scan,
            plan=self.planned.plan,
            pairs=self.planned.pairs,
            drop_duplicates=drop,
        )
