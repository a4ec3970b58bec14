"""A few requests before a crawl is read: does this judge, as the job sets it up, give replies that can be used?"""

from coigw_judge.errors import FixJudge
from coigw_judge.fill.expected import check_gives_expected
from coigw_judge.job.recipe import Recipe
from coigw_judge.judges.protocol import Judge, Measures
from coigw_judge.judges.read_reply import read_reply
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.records.record import Record
from coigw_judge.replies.outcome import Scored, Unscored

_SPECIMEN = Record(
    {
        "answer": "雨停了，巷口的修表匠把灯拧亮。他说这只表走得慢，是因为它替谁等过人。",
        "query": "写一段不超过五十字的小品，用一件旧物写等待，不出现“等待”以外的抒情词。",
        "thought": "先想旧物：钥匙太直白，表本来就管时间，用“走慢”代替抒情。末句不解释替谁，留给读者。",
    },
    id="self-test",
    genre=None,
)


async def self_test(recipe: Recipe, judge: Judge) -> None:
    """A few requests before the crawl is read: a schema-valid reply for the job's first rubrics.

    Raises FixJudge with what came back instead: replies broken by thinking or a missing parser are found here, not
    after a million rows.
    """
    policy = recipe.plan.head_tail
    if policy is not None and isinstance(judge, Measures) and judge.context != policy.context:
        raise FixJudge(
            f"judge: the engine's context is {judge.context} tokens and the model's files say {policy.context}; "
            f"set judge.engine_args.max_model_len: {judge.context}, so that long_text: head_tail cuts to what fits"
        )
    for rubric in recipe.plan.rubrics[:3]:
        for attempt in range(recipe.retries + 1):
            reply = await judge.ask(specimen_ask(recipe, rubric, attempt))
            outcome = read_reply(reply, rubric)
            if isinstance(outcome, Scored):
                check_gives_expected(reply, rubric.name in recipe.expected)
                break
        else:
            assert isinstance(outcome, Unscored)
            shown = " ".join(outcome.raw.split())[:160]
            raise FixJudge(
                f"self-test: rubric {rubric.name} got no usable reply ({outcome.cause}: {outcome.detail}); "
                f"it began: {shown!r}; check judge.thinking, judge.preset and the model's context"
            )


def specimen_ask(recipe: Recipe, rubric: Rubric, attempt: int = 0) -> Ask:
    """A request about a small triplet of our own."""
    return Ask(
        key=b"",
        rubric=rubric.name,
        prompt=recipe.templates[rubric.name].render(_SPECIMEN.texts, None),
        schema=recipe.schemas[rubric.name],
        reply_tokens=recipe.reply_tokens[rubric.name],
        attempt=attempt,
        expected=rubric.name in recipe.expected,
    )
