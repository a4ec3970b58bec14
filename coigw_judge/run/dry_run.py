"""`coigw-judge plan`: the dry run. No judge is started and no fact is written.

An input that was scanned, or that is small enough to be scanned at once, is counted exactly; a larger one is sampled.
The figures come from estimate/make.py and are printed by estimate/text.py.
"""

import json
from contextlib import suppress
from typing import Any

from coigw_judge import estimate
from coigw_judge.decide.plan import Subject, applies
from coigw_judge.errors import FixJudge
from coigw_judge.estimate import sample as estimate_sample
from coigw_judge.estimate import speed, text
from coigw_judge.estimate.prompt_tokens import as_shown, instruments
from coigw_judge.estimate.sampled_standing import Inquiry
from coigw_judge.input.listing import list_input_files
from coigw_judge.job.fingerprints import Planned, plan_for_fill, plan_from_store
from coigw_judge.job.job import LoadedJob
from coigw_judge.job.recipe import Recipe, make_recipe
from coigw_judge.judges.engines import engine_of
from coigw_judge.pipeline import passes
from coigw_judge.prompting.template import Prompt
from coigw_judge.prompting.tokens import Encoder
from coigw_judge.records.record import Record
from coigw_judge.run import estimates, stages
from coigw_judge.scan import input_checks, rows
from coigw_judge.store.parts import Store

SCANNED_AT_ONCE = 256 << 20
"""Bytes of input that are scanned for a plan: seconds. A larger input is sampled, unless a scan of it is there."""


def report(job: LoadedJob, *, prompts: int = 0, sample: int = estimate.SAMPLE_RECORDS, as_json: bool = False) -> str:
    """The dry run as text, or as one JSON object; with `prompts`, that many requests as the judge would see them.

    Raises FixInput, FixStore, FixJob. A judge that cannot be reached is no error: its tokens are then not estimated.
    """
    inquiry = _inquiry(job, max(sample, prompts))
    if not inquiry.sample.rows:
        empty = f"{job.config.name}: the input holds no rows; there is nothing to judge"
        return json.dumps({"job": job.config.name, "rows": 0}) if as_json else empty
    inquiry.order = True
    made = estimate.make(inquiry)
    shown = _prompts(inquiry, prompts) if prompts else []
    if as_json:
        answer: dict[str, Any] = made.as_json() | ({"prompts": shown} if prompts else {})
        return json.dumps(answer, ensure_ascii=False)
    return "\n".join([text.as_text(made), *shown])


def _inquiry(job: LoadedJob, most: int) -> Inquiry:
    store = Store(job.store)
    files = list_input_files(job.config.input.paths, job.base, job.config.input.encoding)
    scanned = rows.load(store, rows.scan_digest(job.config, files, input_checks.excluded_files(job)))
    if scanned is not None or sum(file.size for file in files) <= SCANNED_AT_ONCE:
        stage = stages.begin(job, for_fill=False)
        stage.planned = _planned(job, store)
        return estimates.inquiry(stage, passes.survey(stage.inputs()) if stage.scan.rows_in else None, most)
    input_checks.check_columns(job, files)
    planned = _planned(job, store)
    columns = job.config.input.columns
    return Inquiry(
        job=job,
        store=store,
        parts=store.parts(),
        planned=planned,
        sample=estimate_sample.of_files(files, columns, most, job.config.limit),
        counts=None,
        rates=estimates.rates(job, store, planned),
        gpus=engine_of(job.config.judge).gpus_planned(),
    )


def _planned(job: LoadedJob, store: Store) -> Planned:
    """The plan of a fill with the judge identified; where it cannot be reached, with the judge of the last fill."""
    with suppress(FixJudge):
        return plan_for_fill(job, store)
    return plan_from_store(job, store)


def _prompts(inquiry: Inquiry, count: int) -> list[str]:
    job, plan = inquiry.job, inquiry.planned.plan
    measure, encoder, _ = instruments(job)
    recipe: Recipe = make_recipe(job, plan, "", "", False)
    records, _ = as_shown(job, inquiry.sample.records[:count], measure)
    asked = [(record, rubric) for record in records for rubric in job.all_rubrics if applies(rubric, _subject(record))]
    lines: list[str] = []
    for number, (record, rubric) in enumerate(asked[:count], start=1):
        prompt = recipe.templates[rubric.name].render(record.texts, plan.guidance(rubric, record.genre))
        lines += ["", f"──── request {number}: {rubric.name} for {record.id or 'a record without id'}"]
        lines.append(_as_seen(prompt, encoder))
    return lines


def _subject(record: Record) -> Subject:
    return Subject(record.digests(), record.genre)


def _as_seen(prompt: Prompt, encoder: Encoder | None) -> str:
    if encoder is None:
        return f"[system]\n{prompt.system}\n[user]\n{prompt.user}"
    ids = encoder.encode(prompt)
    counted = f"({len(ids):,} tokens, {len(encoder.controls(ids))} of them control tokens, all from the chat template)"
    return f"{encoder.decode(ids)}\n{counted}"


def overrides(rate: str | None, price: float | None) -> list[str]:
    """What --rate and --price-per-gpu-hour say, as overrides of the job."""
    settings = [] if rate is None else [f"estimate.{k}={v}" for k, v in speed.parse_rate(rate).items()]
    return settings if price is None else [*settings, f"estimate.price_per_gpu_hour={price}"]
