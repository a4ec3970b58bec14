"""From `judge.engine` to a judge: who it is, how it counts tokens, how it is started."""

import importlib
from collections.abc import Callable
from typing import Any

from coigw_judge.errors import FixJob, FixJudge
from coigw_judge.hashing import fingerprint
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.protocol import PROTOCOL, TURN_TOKENS, Identity, Judge, Yardstick
from coigw_judge.prompting.tokens import Encoder


def identify(config: JudgeConfig) -> Identity:
    """Who would judge. Reads the model's small files, starts nothing. Raises FixJudge, FixJob."""
    if config.engine == "vllm":
        from coigw_judge.judges.vllm.judge import identify_vllm

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
    from coigw_judge.judges.protocol import FORMAT

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
        from coigw_judge.judges.vllm.judge import make_encoder

        return make_encoder(config)
    if config.engine == "endpoint" and config.tokenizer is not None:
        from coigw_judge.judges.endpoint.token_id_form import make_encoder as for_servers

        return for_servers(config)
    return None


def yardstick(config: JudgeConfig) -> Yardstick | None:
    """What to measure requests by; None where the context is not known. Raises FixJudge."""
    if config.engine == "vllm":
        from coigw_judge.judges.vllm.judge import measure

        return measure(config)
    if config.context is None:
        return None
    if config.engine == "endpoint":
        from coigw_judge.judges.endpoint.control_tokens import characters

        encoder = encoder_of(config)
        if encoder is not None:
            return Yardstick(config.context, sum(map(len, encoder.frame_ids)), encoder.count)
        return Yardstick(config.context, TURN_TOKENS, characters)
    return Yardstick(config.context, TURN_TOKENS, len)


def open_judge(config: JudgeConfig) -> Judge:
    """Start the judge; for vLLM that loads the model. It is watched: one that hangs raises JudgeUnavailable.

    Raises FixJudge, FixJob, JudgeUnavailable, and whatever the constructor of a class of your own raises.
    """
    from coigw_judge.judges.hang_watch import Watched

    if config.engine == "endpoint":
        from coigw_judge.judges.endpoint.judge import EndpointJudge

        return Watched(EndpointJudge(config), None)  # judge.timeout is its limit for a request
    judge: Judge
    if config.engine == "vllm":
        from coigw_judge.judges.vllm.judge import VllmJudge

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
        raise FixJob(f"judge.engine: {dotted} cannot be imported: {error}") from error
    if not callable(made):
        raise FixJob(f"judge.engine: {dotted} is not a class")
    return made  # type: ignore[no-any-return]
