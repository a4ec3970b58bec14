"""Judges: who answers asks. `Judge.ask(Ask) -> Reply` is all that the rest of the package knows of them.

`identify` says who a judge is without starting it, so that keys can be computed and a second run needs no
engine. `open_judge` starts it, under watch (watched.py). Engines: vllm.py, endpoint.py with its servers, or a class
of the user's own by dotted path.
Not known here: what is asked and why, where facts go.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from coigw_judge.ask import Ask
from coigw_judge.errors import FixJob, FixJudge
from coigw_judge.hashing import fingerprint
from coigw_judge.judge_config import JudgeConfig
from coigw_judge.judges.token_scores import Missing
from coigw_judge.reply import Cause
from coigw_judge.tokens import Encoder

PROTOCOL = 1
"""Counts changes of this package that change what a judge is sent; it is part of every fingerprint."""

TURN_TOKENS = 64
"""What a chat template that a server keeps to itself is taken to add to a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back for one ask. `cause` is set where the judge knows that there is no score to read.

    Tokens: `prompt_tokens` of which `cached_tokens` were not prefilled again; `generated_tokens` with thinking.
    `shareable_tokens` are those that an ideal prefix cache would have had (judges/prefixes.py); None: not known.
    """

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    shareable_tokens: int | None = None
    cause: Cause | None = None
    detail: str = ""
    flags: tuple[str, ...] = ()
    """What the fact must say of how this was asked, beside what the caller knows."""
    expected: Mapping[str, float | None] = field(default_factory=dict)
    """Expected scores by dimension, where the ask wants them (token_scores.py)."""
    expected_missing: Mapping[str, Missing] = field(default_factory=dict)
    """Why one of them is None."""


@runtime_checkable
class Judge(Protocol):
    """Answers asks, many at a time. A class of your own is made with its JudgeConfig as the only argument.

    Where `ask.expected` is set its replies should carry `expected`; one that gives none fails the self-test.

    `ask` returns a Reply also where this one request failed. It raises JudgeUnavailable where the engine is gone
    (it is then replaced) and FixJudge where no request can ever succeed; anything else that it raises counts as the
    first, and so do judge.timeout seconds in which requests are out and none comes back. `concurrency` is how many
    requests are worth having in flight.
    """

    concurrency: int

    async def ask(self, ask: Ask) -> Reply:
        """Answer one request."""
        ...

    async def close(self) -> None:
        """Let go of engine, processes and connections."""
        ...


@runtime_checkable
class Measures(Protocol):
    """A judge that can say how long texts are; where it can not, a character counts as a token."""

    context: int | None

    def tokens(self, text: str) -> int:
        """How many tokens a text takes in a request, at the most."""
        ...


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How long a judge's requests may be, without starting it: `context` tokens, `frame` of them for the turns."""

    context: int
    frame: int
    tokens: Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a judge is. `fingerprint` covers model, tokenizer, template arguments, sampling and retry policy.

    `meaningless`: its scores say nothing (the embedded judge). `revision`: a hub commit, or a digest of a
    local model's files, or what the job declares of an endpoint.
    """

    engine: str
    model: str
    revision: str | None
    fingerprint: str
    meaningless: bool = False


def identify(config: JudgeConfig) -> Identity:
    """Who would judge. Reads the model's small files, starts nothing. Raises FixJudge, FixJob."""
    if config.engine == "vllm":
        from coigw_judge.judges.vllm import identify_vllm

        return identify_vllm(config)
    described = {"protocol": PROTOCOL, "engine": config.engine, "model": config.model, "revision": config.revision}
    described |= {"sampling": config.sampling.model_dump(), "retries": config.retries}
    described |= {"thinking": config.thinking_tokens if config.thinking else 0}
    if config.engine == "endpoint":
        return _identify_endpoint(config, described)
    described |= {"options": config.options}
    made = _own_class(config.engine)
    name = config.model or config.engine
    meaningless = bool(getattr(made, "meaningless", False))
    revision = config.revision or getattr(made, "revision", None)
    print_ = fingerprint(described | {"revision": revision})
    return Identity(engine=config.engine, model=name, revision=revision, fingerprint=print_, meaningless=meaningless)


def _identify_endpoint(config: JudgeConfig, described: dict[str, Any]) -> Identity:
    """By what the job declares, never by what is found at an address: how many servers, where and how fast is neutral.

    Under `judge.tokenizer` requests are token ids, so tokenizer and template are part of it; its files are read.
    """
    from coigw_judge.judges.endpoint import FORMAT

    described |= {"extra_body": config.extra_body, "format": FORMAT}
    if config.reply_format != "json_schema":
        described |= {"reply_format": config.reply_format}
    encoder = encoder_of(config)
    if encoder is not None:
        described |= {"tokenizer": encoder.tokenizer_hash, "frame": encoder.frame_ids}
    return Identity(
        engine="endpoint",
        model=config.model,
        revision=config.revision,
        fingerprint=fingerprint(described),
        meaningless=config.tokenizer == "embedded",
    )


def encoder_of(config: JudgeConfig) -> Encoder | None:
    """The tokenizer and template of a judge that is sent token ids; None of one that is sent text. Raises FixJudge."""
    if config.engine == "vllm":
        from coigw_judge.judges.vllm import make_encoder

        return make_encoder(config)
    if config.engine == "endpoint" and config.tokenizer is not None:
        from coigw_judge.judges.completion import make_encoder as for_servers

        return for_servers(config)
    return None


def yardstick(config: JudgeConfig) -> Yardstick | None:
    """What to measure requests by; None where the context is not known. Raises FixJudge."""
    if config.engine == "vllm":
        from coigw_judge.judges.vllm import measure

        return measure(config)
    if config.context is None:
        return None
    if config.engine == "endpoint":
        from coigw_judge.judges.control import characters

        encoder = encoder_of(config)
        if encoder is not None:
            return Yardstick(config.context, sum(map(len, encoder.frame_ids)), encoder.count)
        return Yardstick(config.context, TURN_TOKENS, characters)
    return Yardstick(config.context, TURN_TOKENS, len)


def requests_at_once(config: JudgeConfig) -> int:
    """How many requests one replica works on at a time, as far as that can be known before it is started."""
    if config.engine == "endpoint":
        from coigw_judge.judges.endpoint import EACH
        from coigw_judge.judges.servers import waiting_room

        each, servers = config.concurrency or EACH, len(config.servers)
        return each * servers + waiting_room(servers, each)
    if config.concurrency is not None:
        return config.concurrency
    if config.engine == "vllm":
        from coigw_judge.judges.vllm import running

        return running(config)
    return 16


def open_judge(config: JudgeConfig) -> Judge:
    """Start the judge; for vLLM that loads the model. It is watched: one that hangs raises JudgeUnavailable.

    Raises FixJudge, FixJob, JudgeUnavailable, and whatever the constructor of a class of your own raises.
    """
    from coigw_judge.judges.watched import Watched

    if config.engine == "endpoint":
        from coigw_judge.judges.endpoint import EndpointJudge

        return Watched(EndpointJudge(config), None)  # judge.timeout is its limit for a request
    judge: Judge
    if config.engine == "vllm":
        from coigw_judge.judges.vllm import VllmJudge

        judge = VllmJudge(config)
    else:
        judge = _own_class(config.engine)(config)
        if not isinstance(judge, Judge):
            raise FixJudge(f"judge.engine: {config.engine} is no Judge: it needs `concurrency`, `ask` and `close`")
    return Watched(judge, config.timeout)


def _own_class(dotted: str) -> Callable[[JudgeConfig], Any]:
    module_name, _, class_name = dotted.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise FixJob(f"judge.engine: {dotted} can not be imported: {error}") from error
    if not callable(made):
        raise FixJob(f"judge.engine: {dotted} is not a class")
    return made  # type: ignore[no-any-return]
