"""Expected scores in facts and verdicts; how they come about is judges/token_scores.py.

A fact of a job with `expected: true` has for each dimension an expected score beside the sampled one, or null and a
flag `expected_<cause>:<dimension>`. Under `gate.use: expected` a sampled score stands in for one that is null
(decide/scorecard.py); such a row carries the flag `expected_missing`.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from coigw_judge.decide.plan import Plan
from coigw_judge.prompting.samples import FIRST
from coigw_judge.replies.outcome import MISSING_EXPECTED
from coigw_judge.run_folder.manifest import Expected
from coigw_judge.standing.join import Bucket, looked_up
from coigw_judge.storage.hash_ranges import Numbers

STOOD_IN = "expected_missing"
"""The flag of a verdict for which the gate took a sampled score because there is no expected one."""


def stood_in(plan: Plan, bucket: Bucket) -> Numbers:
    """Which judged rows have a sampled score in place of an expected one that the gate looks at."""
    judged = np.zeros(len(bucket.judged), bool)
    if plan.gate.use != "expected":
        return judged
    scored = pc.is_null(bucket.facts["cause"]).to_numpy()
    for rubric in plan.rubrics:
        at = bucket.fact_of[rubric.name, FIRST]
        for dimension in rubric.dimensions:
            if plan.gate.over is None or f"{rubric.name}.{dimension.key}" in plan.gate.over:
                lacks = scored & pc.is_null(looked_up(bucket.facts["expected"], dimension.key)).to_numpy(False)
                judged[at >= 0] |= lacks[at[at >= 0]]
    return judged


def count(plan: Plan, bucket: Bucket) -> Expected:
    """Count the expected scores of the judged rows, and the missing ones by cause."""
    counts = Expected()
    facts = bucket.facts
    rows_of = np.zeros(facts.num_rows, np.int64)
    for rubric in (*plan.rubrics, *plan.then):
        at = bucket.fact_of[rubric.name, FIRST]
        at = at[at >= 0]
        np.add.at(rows_of, at, 1)
        for dimension in rubric.dimensions:
            given = pc.is_valid(looked_up(facts["expected"], dimension.key)).to_numpy(False)
            counts.given += int(given[at].sum())
    flagged = pc.fill_null(pc.list_value_length(facts["flags"]), 0).to_numpy() > 0
    for fact in np.flatnonzero(flagged & (rows_of > 0)).tolist():
        for cause in _causes(facts["flags"][fact].as_py()):
            counts.missing[cause] += int(rows_of[fact])
    return counts


def _causes(flags: list[str]) -> Iterator[str]:
    for flag in flags:
        name, item, _ = flag.partition(":")
        if item and name.startswith(MISSING_EXPECTED):
            yield name.removeprefix(MISSING_EXPECTED)
