"""`coigw-judge plan`: what a run would ask and read, without a judge.

Counts come from the scan and the store. Tokens come from a sample of the input, encoded with the job's own
tokenizer where the model has one at hand, and are scaled to all requests; `shared` is what the requests of one
record have in common at their beginning, which a prefix cache need not prefill again.
Not known here: how fast a judge is (hours come with measured rates).
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from coigw_judge import runs
from coigw_judge import scan as scanning
from coigw_judge.asks import head_tail, plan_for_fill, reserve
from coigw_judge.errors import FixJudge
from coigw_judge.fill import Recipe, make_recipe
from coigw_judge.headtail import fit, too_long
from coigw_judge.job import LoadedJob
from coigw_judge.judges import encoder_of, yardstick
from coigw_judge.pipeline import passes
from coigw_judge.plan import Subject, applies
from coigw_judge.prompt import Prompt
from coigw_judge.record import Record
from coigw_judge.tokens import Encoder

SAMPLE_RECORDS = 200


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens per request of a rubric: all of the prompt, and the part shared with the record's request before."""

    prompt: float
    shared: float
    reply: int


def report(job: LoadedJob, prompts: int) -> str:
    """The dry run as text; with `prompts`, that many requests as the judge would see them."""
    stage = runs.begin(job, for_fill=False)
    if not stage.scan.rows_in:
        return f"{job.config.name}: the input holds no rows; there is nothing to judge"
    _find_room(stage)
    recipe = make_recipe(job, stage.planned.plan, "", "", False)
    records = _sample(stage, max(SAMPLE_RECORDS, prompts))
    encoder, why_not = _encoder(job)
    records, long = _as_shown(job, records)
    lines = [_counted(stage, job, recipe, records, encoder), *long]
    if why_not:
        lines.append(f"tokens: not known ({why_not})")
    if prompts:
        lines += _prompts(job, recipe, records, encoder, prompts)
    return "\n".join(lines)


def _sample(stage: runs.Stage, count: int) -> list[Record]:
    """Up to `count` records, spread over the splits."""
    found: list[Record] = []
    splits = range(len(stage.scan.splits))
    chosen = splits[:: max(1, len(splits) // 16)]
    for number in chosen:
        rows = stage.scan.rows[number]
        step = max(1, rows * len(chosen) // count)
        wanted = set(range(0, rows, step))
        columns = stage.job.config.input.columns
        found += [record for _, record in scanning.records(stage.scan, number, columns, wanted)]
    return found[: count * 2]


def _find_room(stage: runs.Stage) -> None:
    """Before the first fill under head_tail the store does not know the room: find it, lest all seem open."""
    if stage.job.config.long_text == "head_tail" and stage.planned.plan.head_tail is None:
        with suppress(FixJudge):
            stage.planned = plan_for_fill(stage.job, stage.store)


def _as_shown(job: LoadedJob, records: list[Record]) -> tuple[list[Record], list[str]]:
    """The sampled records as the judge would see them, and a line on those that are too long for it, if any."""
    try:
        measure = yardstick(job.config.judge)
    except FixJudge:
        return records, []
    if measure is None:
        return records, []
    if job.config.long_text == "head_tail":
        policy = head_tail(job, measure)
        shown = [fit(record.texts, policy, measure.tokens) for record in records]
        records = [replace(record, texts=each.texts) for record, each in zip(records, shown, strict=True)]
        count, fate = sum(bool(each.left_out) for each in shown), "would be shown by their beginning and their end"
    else:
        rooms = [(rubric, measure.context - reserve(job, rubric, measure)) for rubric in job.all_rubrics]
        count = sum(
            any(too_long(texts, r.fields, room, measure.tokens) for r, room in rooms if texts.keys() >= set(r.reads))
            for texts in (record.texts for record in records)
        )
        fate = "would be unscored (too_long); `long_text: head_tail` shows their beginning and their end"
    return records, [f"over the context: {count:,} of {len(records):,} sampled records; they {fate}"] if count else []


def _encoder(job: LoadedJob) -> tuple[Encoder | None, str]:
    try:
        encoder = encoder_of(job.config.judge)
    except FixJudge as error:
        return None, str(error)
    return encoder, "" if encoder is not None else "the server has the tokenizer"


def _counted(stage: runs.Stage, job: LoadedJob, recipe: Recipe, records: list[Record], encoder: Encoder | None) -> str:
    asks = passes.survey(stage.view()).asks
    header = f"{'rubric':<18}{'applies to':>12}{'in store':>10}{'failed':>8}{'to ask':>10}"
    if encoder is not None:
        header += f"{'tokens each':>13}{'shared':>8}{'tokens in all':>15}"
    lines = [f"{job.config.name}: {stage.scan.rows_in:,} rows", "", header]
    lengths = {} if encoder is None else measure(job, recipe, records, encoder)
    total = shared = 0.0
    for rubric in job.all_rubrics:
        numbers = [asks[f"{rubric.name}.{kind}"] for kind in ("applies", "known", "failed", "open")]
        line = f"{rubric.name:<18}{numbers[0]:>12,}{numbers[1]:>10,}{numbers[2]:>8,}{numbers[3]:>10,}"
        if rubric.name in lengths:
            each = lengths[rubric.name]
            line += f"{each.prompt:>13,.0f}{each.shared:>8,.0f}{each.prompt * numbers[3]:>15,.0f}"
            total += each.prompt * numbers[3]
            shared += each.shared * numbers[3]
        lines.append(line)
    lines.append("")
    if lengths:
        part = shared / total if total else 0.0
        lines.append(
            f"prompt tokens: at most {total:,.0f}, of which {shared:,.0f} ({part:.0%}) follow a shared beginning"
        )
        generated = sum(lengths[r.name].reply * asks[f"{r.name}.open"] for r in job.all_rubrics if r.name in lengths)
        lines.append(f"generated tokens: at most {generated:,.0f} (the replies' limits)")
    if job.config.early_exit:
        lines.append("early exit is on: records that can no longer pass are asked less than this")
    if job.config.samples.repeat:
        share = f"{job.config.samples.repeat:.1%}"
        lines.append(f"samples.repeat: {share} of the records are asked a second time, which is not counted above")
    if job.then:
        lines.append(
            f"`then` ({', '.join(r.name for r in job.then)}) is asked only of records that end as kept or review"
        )
    return "\n".join(lines)


def measure(job: LoadedJob, recipe: Recipe, records: list[Record], encoder: Encoder) -> Mapping[str, Lengths]:
    """Mean lengths per rubric over sampled records, in the order in which a record's requests are made."""
    sums: dict[str, list[float]] = {rubric.name: [0.0, 0.0, 0.0] for rubric in job.all_rubrics}
    for record in records:
        before: list[int] = []
        subject = Subject(record.digests(), record.genre)
        for rubric in job.all_rubrics:
            if applies(rubric, subject):
                ids = encoder.encode(recipe.templates[rubric.name].render(record.texts, rubric.guidance(record.genre)))
                found = sums[rubric.name]
                found[0], found[1], found[2] = found[0] + 1, found[1] + len(ids), found[2] + _common(before, ids)
                before = ids
    return {
        name: Lengths(total / count, shared / count, recipe.reply_tokens[name])
        for name, (count, total, shared) in sums.items()
        if count
    }


def _common(one: list[int], other: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _prompts(job: LoadedJob, recipe: Recipe, records: list[Record], encoder: Encoder | None, count: int) -> list[str]:
    lines: list[str] = []
    shown = 0
    for record in records:
        subject = Subject(record.digests(), record.genre)
        for rubric in job.all_rubrics:
            if shown < count and applies(rubric, subject):
                shown += 1
                prompt = recipe.templates[rubric.name].render(record.texts, rubric.guidance(record.genre))
                lines += ["", f"──── request {shown}: {rubric.name} for {record.id or 'a record without id'}"]
                lines.append(_as_seen(prompt, encoder))
    return lines


def _as_seen(prompt: Prompt, encoder: Encoder | None) -> str:
    if encoder is None:
        return f"[system]\n{prompt.system}\n[user]\n{prompt.user}"
    ids = encoder.encode(prompt)
    counted = f"({len(ids):,} tokens, {len(encoder.controls(ids))} of them control tokens, all from the chat template)"
    return f"{encoder.decode(ids)}\n{counted}"
