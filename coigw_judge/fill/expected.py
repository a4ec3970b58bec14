"""Expected scores put to an outcome (docs/expected.md)."""

from dataclasses import replace

from coigw_judge.errors import FixJudge
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.replies.outcome import MISSING_EXPECTED, Scored


def with_expected(outcome: Scored, reply: Reply, rubric: Rubric) -> Scored:
    """The outcome with the reply's expected scores, and a flag for each one that is missing."""
    values: dict[str, float | None] = {}
    flags = []
    for key in (dimension.key for dimension in rubric.dimensions):
        value = reply.expected.get(key)
        cause = reply.expected_missing.get(key, "not_given")
        if value is not None and not rubric.scale.min <= value <= rubric.scale.max:  # NaN too
            value, cause = None, "out_of_range"
        values[key] = value
        if value is None:
            flags.append(f"{MISSING_EXPECTED}{cause}:{key}")
    return replace(outcome, expected=values, flags=(*outcome.flags, *flags))


def check_gives_expected(reply: Reply, wanted: bool) -> None:
    """Raise FixJudge where a judge gives no expected scores at all, and the job wants them."""
    if wanted and not reply.expected:
        raise FixJudge("self-test: the judge gives no expected scores; leave `expected: true` out of the job")
