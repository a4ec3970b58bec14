"""What a fill needs of a job, as plain values that travel to an actor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coigw_judge.decide.plan import Plan
from coigw_judge.job.job import LoadedJob
from coigw_judge.prompting.rubric import REASON_CHARS, Note, Reasons, Rubric
from coigw_judge.prompting.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a fill needs of a job, as plain values that travel to an actor."""

    run: str
    """The run's name, which every fact carries."""
    plan: Plan
    templates: Mapping[str, Template]
    """By rubric, as the other mappings are."""
    schemas: Mapping[str, Mapping[str, Any]]
    """The JSON schema of the reply."""
    reply_tokens: Mapping[str, int]
    """What a complete reply may take at the most."""
    rubric_fingerprints: Mapping[str, str]
    judge_fingerprint: str
    retries: int
    """How often a reply that gave no score is asked for again."""
    retry_unscored: bool = False
    """Whether requests that an earlier run left without a score are asked again."""
    job: str = ""
    """The job's name, for logs."""
    log_level: str = "info"
    expected: frozenset[str] = frozenset()
    """Rubrics whose replies are to carry expected scores."""


def make_recipe(job: LoadedJob, plan: Plan, judge_fingerprint: str, run: str, retry_unscored: bool) -> Recipe:
    """The recipe of a job whose ask fingerprints are known (in `plan`)."""
    reasons = job.config.reasons
    return Recipe(
        run=run,
        plan=plan,
        templates=job.templates,
        schemas={rubric.name: rubric.reply_schema(reasons) for rubric in job.all_rubrics},
        reply_tokens={rubric.name: reply_budget(rubric, reasons) for rubric in job.all_rubrics},
        rubric_fingerprints={rubric.name: rubric.fingerprint() for rubric in job.all_rubrics},
        judge_fingerprint=judge_fingerprint,
        retries=job.config.judge.retries,
        retry_unscored=retry_unscored,
        job=job.config.name,
        expected=frozenset(rubric.name for rubric in job.all_rubrics if job.gives_expected(rubric)),
    )


def reply_budget(rubric: Rubric, reasons: Reasons) -> int:
    """Tokens that a complete reply may take at the most: two per character that the schema allows, and its frame."""
    tokens = 16
    for item in rubric.items:
        chars = item.max_chars if isinstance(item, Note) else REASON_CHARS[reasons] + 24
        tokens += 2 * (chars + len(item.key)) + 16
    return tokens
