"""Expected scores in facts and verdicts; how they come about is judges/token_scores.py.

A fact of a job with `expected: true` has for each dimension an expected score beside the sampled one, or null and a
flag `expected_<cause>:<dimension>`. Under `gate.use: expected` a sampled score stands in for one that is null
(decide/scorecard.py); a row of which that is so carries the flag `expected_missing`, so that it never goes unseen.
Not known here: tokens, the gate's thresholds.
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
"""How a verdict names that the gate took a sampled score because there is no expected one."""


def stood_in(plan: Plan, found: Bucket) -> Numbers:
    """Which judged rows have a sampled score in place of an expected one that the gate looks at."""
    judged = np.zeros(len(found.judged), bool)
    if plan.gate.use != "expected":
        return judged
    scored = pc.is_null(found.facts["cause"]).to_numpy()
    for rubric in plan.rubrics:
        at = found.fact_of[rubric.name, FIRST]
        for dimension in rubric.dimensions:
            if plan.gate.over is None or f"{rubric.name}.{dimension.key}" in plan.gate.over:
                lacks = scored & pc.is_null(looked_up(found.facts["expected"], dimension.key)).to_numpy(False)
                judged[at >= 0] |= lacks[at[at >= 0]]
    return judged


def count(plan: Plan, found: Bucket) -> Expected:
    """Of the judged rows' scores: those with an expected one, and those without by cause."""
    counts = Expected()
    facts = found.facts
    rows_of = np.zeros(facts.num_rows, np.int64)
    for rubric in (*plan.rubrics, *plan.then):
        at = found.fact_of[rubric.name, FIRST]
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
