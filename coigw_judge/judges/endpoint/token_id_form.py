"""Requests to a vLLM server's /completions, as token ids: the very ids that the vllm judge sends (prompting/tokens.py).

So text from a record is never control tokens here either; the tokenizer's files are those that `judge.tokenizer`
names. The server's model must be the tokenizer's: `check_count` compares the ids that it counted with those sent.
What a server's generation_config would fill in is sent, with the values that vLLM's engine has without one.
White space in the grammar is the server's alone to forbid (vLLM reads that from its start arguments only).
"""

from coigw_judge.errors import FixJudge
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.endpoint.chat_form import Request, finished, reply_budget
from coigw_judge.judges.model_files import model_files
from coigw_judge.judges.presets import sampling, template_arguments
from coigw_judge.judges.protocol import Reply
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.tokens import Encoder

_ENGINE_DEFAULTS = {
    **{"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    **{"presence_penalty": 0.0, "frequency_penalty": 0.0},
}


def make_encoder(config: JudgeConfig) -> Encoder:
    """The tokenizer and chat template of `judge.tokenizer`. Raises FixJudge."""
    assert config.tokenizer is not None
    folder = model_files(config.tokenizer, None, "judge.tokenizer")[0]
    try:
        return Encoder(folder, template_arguments(config))
    except ImportError as error:
        raise FixJudge(
            f"judge.tokenizer: needs {error.name}, which is not installed; install coigw-judge[tokenizer], "
            "or leave judge.tokenizer out"
        ) from error


class Completion:
    """Token ids; the server has the model alone. `context` is how many tokens it takes, where that is known."""

    path = "/completions"

    def __init__(self, config: JudgeConfig, context: int | None) -> None:
        self._config = config
        self._context = context
        self.encoder = make_encoder(config)

    def tokens(self, text: str) -> int:
        """How many tokens a text takes; counted texts stay encoded for the requests that show them."""
        return self.encoder.count(text)

    def request(self, ask: Ask) -> Request:
        """The request for an ask, or the reply to one that does not fit the context."""
        budget = reply_budget(self._config, ask)
        if self._context is not None and self.encoder.at_least(ask.prompt) > self._context:
            return _too_long(f"more than {self._context} tokens")
        ids = self.encoder.encode(ask.prompt)
        if self._context is not None and len(ids) + budget > self._context:
            return _too_long(f"{len(ids)} prompt and up to {budget} reply tokens; the context has {self._context}")
        body = {
            "prompt": ids,
            "max_tokens": budget,
            "seed": ask.seed,
            "add_special_tokens": False,
            "skip_special_tokens": not self._config.thinking,
            **_ENGINE_DEFAULTS,
            **sampling(self._config, ask.attempt, ask.temperature),
        }
        if self._config.reply_format == "json_schema":
            body["structured_outputs"] = {"json": dict(ask.schema)}
        elif self._config.reply_format == "json_object":
            body["structured_outputs"] = {"json_object": True}
        return Request(body=finished(self._config, body), tokens=len(ids) + budget, sent_tokens=len(ids))

    def trifle(self) -> dict[str, object]:
        """The body of the least request that a server in order answers."""
        return finished(self._config, {"prompt": self.encoder.plain("1"), "max_tokens": 1})


def check_count(url: str, request: Request, reply: Reply) -> None:
    """Raise FixJudge where the server counts other prompt tokens than it was sent."""
    if request.sent_tokens is not None and reply.prompt_tokens not in (0, request.sent_tokens):
        raise FixJudge(
            f"{url}: was sent {request.sent_tokens} token ids and counts {reply.prompt_tokens}: it does not take ids "
            "as they are; leave judge.tokenizer out, or ask a vLLM server directly"
        )


def _too_long(detail: str) -> Request:
    return Request(body={}, tokens=0, refused=Reply(cause="too_long", detail=detail))
