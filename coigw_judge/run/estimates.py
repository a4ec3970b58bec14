"""What a run estimates before its fill, and what it keeps of that for the next one."""

from typing import Any

from coigw_judge import estimate
from coigw_judge.estimate import history, sample, speed
from coigw_judge.estimate.ask_order import lengths, suggestion
from coigw_judge.estimate.sampled_standing import Inquiry, may_look_up
from coigw_judge.job.fingerprints import Planned
from coigw_judge.job.job import LoadedJob
from coigw_judge.judges.engines import engine_of
from coigw_judge.pipeline import passes
from coigw_judge.pipeline.cluster import devices
from coigw_judge.run.state import Stage
from coigw_judge.standing import asked_in_full
from coigw_judge.standing.asked_in_full import AskedInFull
from coigw_judge.standing.survey import SurveyCounts
from coigw_judge.store.parts import Store


def inquiry(stage: Stage, survey: passes.OpenRows | None, most: int) -> Inquiry:
    """What an estimate of a scanned input is made from: the survey (None: of no rows), and `most` sampled records."""
    scan, drops = stage.scan, stage.job.config.screen.duplicate == "drop"
    parts = stage.store.parts()
    return Inquiry(
        job=stage.job,
        store=stage.store,
        parts=parts,
        planned=stage.planned,
        sample=sample.of_scan(scan, stage.job.config.input.columns, most),
        counts=survey.counts if survey else SurveyCounts(),
        rates=rates(stage.job, stage.store, stage.planned),
        gpus=engine_of(stage.job.config.judge).gpus_planned(),
        settled=scan.unreadable + scan.screened + (scan.duplicates if drops else 0),
        retry=stage.retry_unscored,
        look_up=most > estimate.RUN_SAMPLE or may_look_up(parts),
        share=asked_in_full.read(survey.counts.share) if survey else None,
    )


def rates(job: LoadedJob, store: Store, planned: Planned) -> speed.Rates:
    """What the job says of its judge's speed, and what earlier fills of this judge measured."""
    measured = speed.recall(store, planned.identity.fingerprint, engine_of(job.config.judge).gpus_planned())
    return speed.Rates(job.config.estimate, measured)


def _keep_rate(stage: Stage) -> None:
    judge, config = stage.planned.identity.fingerprint, stage.job.config.judge
    gpus = engine_of(config).gpus_per_replica()
    took = speed.of_fill(stage.run, judge, devices(), gpus, config, stage.seconds, stage.tally)
    if took is not None:
        speed.keep(stage.store, took)


def _order(stage: Stage, share: AskedInFull) -> dict[str, Any] | None:
    """The suggested order of asks, as JSON; nothing is read for it where too few records were asked in full."""
    job, plan, store = stage.job, stage.planned.plan, stage.store

    def measured() -> lengths.Lengths | None:
        if not asked_in_full.enough(share, history.LEAST):
            return None
        some = sample.of_scan(stage.scan, job.config.input.columns, estimate.RUN_SAMPLE)
        seen = history.look(store, store.parts(), plan, stage.planned.pairs, job.config.reasons, share=share)
        return lengths.measure(job, some.records, seen.spent, rates(job, store, stage.planned), None)

    return suggestion.as_json(suggestion.ordering(plan, share, measured))
