"""The columns of verdicts/*.parquet (CONTRACT, A run folder)."""

import pyarrow as pa

from coigw_judge.decide.plan import Plan

_TEXTS = pa.map_(pa.string(), pa.string())


NUMBERS = pa.map_(pa.string(), pa.float64())


STRINGS = pa.list_(pa.string())


VERDICT_COLUMNS = ("reasons", "notes", "flags")
"""Of facts, what a verdict shows beside what decides."""


def verdict_schema(plan: Plan) -> pa.Schema:
    """The columns of verdicts/*.parquet for a plan's rubrics (CONTRACT, A run folder).

    Beside those: `file`, `position`, `chars`; `record`, the digest of the texts in hex; `suspected`, what in the record
    addresses the judge; `repeat_decision` and `repeat_scores`, what a second sample alone gives where one was asked;
    `samples`, the most samples that the scores of a rubric rest on, and `spread`, by `rubric.dimension` how far the
    highest of them lies above the lowest, null where there is but one (the score columns and `total` hold what the gate
    decided on, the median or mean of all samples; checks, choices, notes and reasons are the first sample's);
    `category` of the genre, where the taxonomy knows it; `screens`, a sentence for each screen that hit, also where it
    only flags; `published`, the day; `ttr` and `mattr`, lexical diversity; `expected`, the expected scores
    by `rubric.dimension`, null where there is none.
    """
    rubrics = (*plan.rubrics, *plan.then)
    scores = [(f"{r.name}.{d.key}", pa.float64()) for r in rubrics for d in r.dimensions]
    checks = [(f"{r.name}.{c.key}", pa.bool_()) for r in rubrics for c in r.checks]
    choices = [(f"{r.name}.{c.key}", pa.string()) for r in rubrics for c in r.choices]
    before = [("row_id", pa.string()), ("id", pa.string()), ("decision", pa.string()), ("action", pa.string())]
    before += [("reasons", STRINGS), ("total", pa.float64())]
    after = [("judge_reasons", _TEXTS), ("notes", _TEXTS), ("genre", pa.string())]
    after += [(name, STRINGS) for name in ("asked", "skipped", "not_applicable", "flags")]
    after += [("file", pa.string()), ("position", pa.int64()), ("chars", pa.int64()), ("record", pa.string())]
    after += [("suspected", pa.string()), ("repeat_decision", pa.string()), ("repeat_scores", NUMBERS)]
    after += [("category", pa.string()), ("screens", STRINGS), ("published", pa.date32())]
    after += [("source", pa.string()), ("region", pa.string())]
    after += [("ttr", pa.float32()), ("mattr", pa.float32()), ("expected", NUMBERS)]
    after += [("samples", pa.int32()), ("spread", NUMBERS)]
    return pa.schema([*before, *scores, *checks, *choices, *after])
