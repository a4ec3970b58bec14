"""A judge's Reply as an outcome: what it said, or why there is nothing to read."""

from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.replies.parse import parse_reply


def read_reply(reply: Reply, rubric: Rubric) -> Scored | Unscored:
    """A judge's reply as an outcome. A reply cut off by its token limit is never scored."""
    if reply.cause is not None:
        return Unscored(cause=reply.cause, raw=reply.text, detail=reply.detail)
    if reply.finish_reason == "length":
        return Unscored(cause="truncated", raw=reply.text, detail=f"stopped after {reply.generated_tokens} tokens")
    return parse_reply(reply.text, rubric)
