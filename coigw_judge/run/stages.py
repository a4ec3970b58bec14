"""One run from end to end: scan, fill, select, folders, manifest. What the command line and jobs/ call.

pipeline/ spreads each stage over a cluster.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from coigw_judge import estimate, logs
from coigw_judge.decide.decisions import Decided
from coigw_judge.errors import CountsDiffer, FixJob
from coigw_judge.fill.ledger import FillTally
from coigw_judge.fill.self_test import specimen_ask
from coigw_judge.input.listing import Split
from coigw_judge.job.fingerprints import Planned, plan_for_fill, plan_from_store
from coigw_judge.job.job import LoadedJob
from coigw_judge.job.recipe import make_recipe
from coigw_judge.judges.engines import engine_of
from coigw_judge.logs import event
from coigw_judge.pipeline import fill_graph, passes, shared_paths
from coigw_judge.pipeline.capacity import find_room
from coigw_judge.pipeline.coordinator import Look
from coigw_judge.pipeline.metrics import Meter
from coigw_judge.run.estimates import _keep_rate, _order, inquiry
from coigw_judge.run.manifest import build
from coigw_judge.run.progress import FillProgress
from coigw_judge.run.state import Say, Stage
from coigw_judge.run_folder.manifest import Manifest
from coigw_judge.run_folder.manifest import write as write_manifest
from coigw_judge.scan.rows import Scan, check_total
from coigw_judge.select import folders
from coigw_judge.select.counts import SelectCounts
from coigw_judge.standing import asked_in_full
from coigw_judge.storage.paths import check_reach, make_folder, open_filesystem
from coigw_judge.store.parts import Store

_log = logging.getLogger(__name__)
_MOST_ROUNDS = 8
"""The most rounds of a fill: each goes over what failed blocks of the one before left."""


def begin(job: LoadedJob, *, for_fill: bool, retry_unscored: bool = False, log_level: str = "info") -> Stage:
    """Scan the input, and plan: with the judge identified (`for_fill`), or as the store remembers it.

    `log_level` is for the judge's processes. Raises FixInput and FixJudge; no engine is started.
    """
    shared_paths.check_nodes(job)
    store = Store(job.store)
    started = time.monotonic()
    run = f"{job.config.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    logs.bind(run=run, job=job.config.name)
    event(_log, logging.INFO, "run_begun", job_file=str(job.path))
    scan = passes.scan(job, store)
    scanned = time.monotonic() - started
    counts = {"rows": scan.rows_in, "duplicates": scan.duplicates, "unreadable": scan.unreadable}
    event(_log, logging.INFO, "scanned", **counts, screened=scan.screened, seconds=round(scanned, 3))
    if scan.rows_in:
        _check_applies(job, scan)
    planned = plan_for_fill(job, store) if for_fill and scan.rows_in else plan_from_store(job, store)
    seconds = {"scan": scanned, "startup": 0.0, "fill": 0.0}
    return Stage(job, store, scan, planned, run, retry_unscored, log_level, seconds)


def _check_applies(job: LoadedJob, scan: Scan) -> None:
    for rubric in job.all_rubrics:
        if scan.rows_in > scan.unreadable and not scan.applicable(rubric.reads):
            raise FixJob(
                f"{job.path}: rubric {rubric.name} reads {', '.join(rubric.reads)}, and no record of the input has "
                "all of these; map the columns (input.columns) or leave the rubric out"
            )


def fill(stage: Stage, say: Say) -> None:
    """Ask what is open. Nothing but facts stays behind, interrupted or not. Raises FixJudge, FixStore."""
    try:
        _rounds(stage, say)
    finally:
        with suppress(OSError):  # `store verify` tells of what could not be removed
            fill_graph.clear_work(stage.store, stage.run)


def _rounds(stage: Stage, say: Say) -> None:
    """Fill in rounds: each asks what failed blocks of the one before left, with more care where that is needed."""
    started = time.monotonic()
    job = stage.job
    recipe = make_recipe(job, stage.planned.plan, stage.planned.identity.fingerprint, stage.run, stage.retry_unscored)
    recipe = replace(recipe, log_level=stage.log_level)
    meter = Meter(stage.run, job.config.name)
    care, before = fill_graph.CARES[0], 0
    for attempt in range(_MOST_ROUNDS):
        fill_graph.clear_work(stage.store, stage.run)
        work = fill_graph.work_folder(stage.store, stage.run)
        inputs = replace(stage.inputs(), retry=stage.run if stage.retry_unscored else None)
        survey = passes.survey(inputs, work)
        if survey.path is None:
            break
        if attempt == 0:
            verify_prompts(job, stage.planned)
            share = find_room(job.config.judge, say)
            stage.estimate = estimate.make(inquiry(stage, survey, estimate.RUN_SAMPLE)).short()
        care = next_care(care, before, survey.rows)
        before = survey.rows
        event(_log, logging.INFO, "round_begun", round=attempt, rows=survey.rows, care=care)
        say(_round_begins(attempt, survey.rows, stage.scan.rows_in, care))
        order = fill_graph.FillOrder(
            recipe=recipe,
            judge=job.config.judge,
            share=share,
            store=job.store,
            scan=stage.scan,
            columns=job.config.input.columns,
            splits=tuple(sorted(survey.splits)),
            open_rows=survey.path,
            rows=survey.rows,
            half_done=(work, inputs.buckets),
            care=care,
            answered=stage.tally.answered > 0,
        )
        progress = FillProgress(survey.rows)
        meter.begin(survey.rows)
        try:
            last = fill_graph.fill(order, _shown_by(progress, meter))
        finally:
            progress.close()
            meter.end()
        stage.seconds["startup"] += last.startup
        stage.tally += last.total
    stage.seconds["fill"] = time.monotonic() - started - stage.seconds["startup"]
    _keep_rate(stage)
    event(_log, logging.INFO, "filled", **_filled(stage.tally), seconds=round(stage.seconds["fill"], 3))


def _shown_by(progress: FillProgress, meter: Meter) -> Callable[[Look], None]:
    """Show each look at the board on the terminal and in the metrics, and log the deaths of replicas."""
    deaths = 0

    def show(look: Look) -> None:
        nonlocal deaths
        progress(look.total)
        meter.take(look)
        if look.deaths > deaths:
            event(_log, logging.WARNING, "replicas_died", deaths=look.deaths, starts=look.starts, replicas=look.living)
        deaths = look.deaths

    return show


def _filled(tally: FillTally) -> dict[str, Any]:
    """A fill in figures, for its line in the log."""
    tokens = tally.tokens
    return {
        "asks": tally.made,
        "from_store": tally.from_store,
        "retried": tally.retried,
        "causes": dict(tally.unscored),
        "prompt_tokens": tokens.prompt,
        "cached_tokens": tokens.cached,
        "generated_tokens": tokens.generated,
    }


def next_care(care: str, before: int, left: int) -> str:
    """The care of the next round (fill_graph.CARES), from the rows that were open before the last one and after it.

    A round that did not halve them held rows that kill engines, so the next takes more care. One block at a time only
    spares the other blocks, so row by row always follows it.
    """
    if not before or (care != "block" and 2 * left <= before):
        return care
    if left <= fill_graph.BLOCK_ROWS:
        return "row"
    cares = fill_graph.CARES
    return cares[min(cares.index(care) + 1, len(cares) - 1)]


def _round_begins(attempt: int, count: int, rows_in: int, care: str) -> str:
    if not attempt:
        return f"{count:,} of {rows_in:,} rows have something to ask"
    how = {"many": "", "block": ", one block at a time", "row": ", row by row"}[care]
    return f"{count:,} rows were left by blocks that failed; asking them again{how}"


def verify_prompts(job: LoadedJob, planned: Planned) -> None:
    """Refuse a model whose ids would not say what its own chat template does. Raises FixJudge."""
    encoder = engine_of(job.config.judge).encoder()
    if encoder is None:
        return
    recipe = make_recipe(job, planned.plan, "", "", False)
    for rubric in job.all_rubrics:
        encoder.verify(specimen_ask(recipe, rubric).prompt)


def select(stage: Stage, form: folders.Format, *, filled: bool) -> tuple[Manifest, str]:
    """Decide every row, write the run folder; returns the manifest and the folder.

    Raises CountsDiffer, after the manifest is written as incomplete, where the rows do not add up.
    """
    started = time.monotonic()
    folder = f"{stage.job.out.rstrip('/')}/{stage.run}"
    filesystem, inner = open_filesystem(folder)
    make_folder(filesystem, inner)
    counts = passes.select(stage.inputs(), f"{folder}/verdicts") if stage.scan.rows_in else SelectCounts()
    written_rows = _write_folders(stage, folder, form)
    stage.seconds["select"] = time.monotonic() - started
    decided = counts.decisions
    trouble = _reconcile(stage, decided, written_rows, filled)
    order = _order(stage, asked_in_full.read(counts.share))
    manifest = build(stage, counts, order, complete=not trouble)
    # `ray job submit` reports any failure as 1. Whatever ended with 2 or 130 has no manifest.
    manifest.exit_code = 1 if trouble or too_many_unscored(manifest) else 0
    write_manifest(folder, manifest)
    Meter(stage.run, stage.job.config.name).decided(decided)
    outcome = {"decisions": manifest.decisions, "rows": stage.scan.rows_in, "complete": not trouble}
    event(_log, logging.INFO, "run_ended", folder=folder, seconds=round(stage.seconds["select"], 3), **outcome)
    if trouble:
        raise CountsDiffer(f"{folder}: {trouble}")
    return manifest, folder


def _write_folders(stage: Stage, folder: str, form: folders.Format) -> Mapping[str, int]:
    decisions = folders.decisions_to_write(stage.job.config.write)
    if not decisions or not stage.scan.rows_in:
        return {}
    size = max(1, -(-len(stage.scan.splits) // 64))
    tasks = []
    for group, start in enumerate(range(0, len(stage.scan.splits), size)):
        pieces = [piece.as_dict() for piece in stage.scan.splits[start : start + size]]
        tasks.append({"group": group, "pieces": pieces, "rows": list(stage.scan.rows[start : start + size])})

    def write(task: dict[str, Any]) -> dict[str, Any]:
        pieces = [Split(**piece) for piece in task["pieces"]]
        return dict(folders.write_group(task["group"], pieces, task["rows"], folder, decisions, form))

    counts = passes.write_decided(tasks, write)
    if form == "parquet":
        folders.unify(folder, decisions)
    return counts


def _reconcile(stage: Stage, decided: Mapping[Decided, int], written_rows: Mapping[str, int], filled: bool) -> str:
    """What does not add up, or an empty string."""
    try:
        check_total(stage.scan, sum(decided.values()))
    except CountsDiffer as error:
        return str(error)
    for decision in folders.decisions_to_write(stage.job.config.write):
        if written_rows.get(decision, 0) != decided.get(decision, 0):
            return f"{decided.get(decision, 0)} rows are {decision} and {written_rows.get(decision, 0)} were written"
    if filled and decided.get("pending", 0):
        return f"{decided['pending']} rows are pending after a complete fill; run again to ask what is open"
    return ""


def too_many_unscored(manifest: Manifest) -> str:
    """A sentence where more of the judged rows are unscored than `max_unscored` allows, else an empty string."""
    decisions = manifest.decisions
    judged = decisions["kept"] + decisions["review"] + decisions["dropped"] + decisions["unscored"]
    share = decisions["unscored"] / judged if judged else 0.0
    allowed = manifest.configuration["max_unscored"]
    if share <= allowed:
        return ""
    causes = ", ".join(f"{name} {n}" for name, n in manifest.failures.items())
    return f"{share:.1%} of the judged rows are unscored and max_unscored is {allowed:.1%} ({causes})"


def check_paths(job: LoadedJob) -> None:
    """Check before Ray starts: the judge's preset, paths inside a Ray package, whether store and output can be
    reached. Raises FixJob, FixJudge, FixStore."""
    engine_of(job.config.judge).check()
    shared_paths.check_package(job)
    for key, path in (("store", job.store), ("out", job.out)):
        check_reach(path, key)
