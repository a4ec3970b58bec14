"""What is known of models: how to prompt them, sample them and lay them out on GPUs.

A preset is chosen by the model's name, or by `judge.preset`. It decides the chat template's arguments, the
reasoning parser that must go with thinking (with thinking on and no parser the grammar binds from the first
token and forbids the thinking; with thinking off and a parser the reply is no JSON, vllm #18819, #47027), the
sampling that the model's authors recommend for it, and default engine arguments, which the job overrides.

Sources: Qwen3's model cards (thinking: temperature 0.6, top_p 0.95, top_k 20, never greedy; context 32,768
tokens natively); vllm #17569 for the FP8 235B, whose blocks of 128 a tensor parallel size of 8 does not divide.
A judge without thinking answers at temperature 0: its reply is short and bound by a grammar, and a rerun
should move as few scores as possible.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from coigw_judge.errors import FixJob, nearest
from coigw_judge.judges.config import JudgeConfig

_GREEDY: Mapping[str, float] = MappingProxyType({"temperature": 0.0})
_QWEN3_THINKING: Mapping[str, float] = MappingProxyType({"temperature": 0.6, "top_p": 0.95, "top_k": 20})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One family of models."""

    matches: str
    """A pattern that finds its models' names."""
    thinking_switch: Literal["argument", "always", "never"] = "never"
    """`argument`: the chat template takes enable_thinking; else what the model does in any case."""
    reasoning_parser: str | None = None
    """vLLM's name for it."""
    tensor_parallel: int = 1
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    """For vLLM, below the job's own."""


_QWEN3_ARGS: Mapping[str, Any] = MappingProxyType({"max_model_len": 40960})

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "qwen3-235b-fp8": Preset(
            matches=r"Qwen3-235B-A22B-FP8$",
            thinking_switch="argument",
            reasoning_parser="qwen3",
            tensor_parallel=4,
            engine_args=_QWEN3_ARGS,
        ),
        "qwen3-235b-bf16": Preset(
            matches=r"Qwen3-235B-A22B$",
            thinking_switch="argument",
            reasoning_parser="qwen3",
            tensor_parallel=8,
            engine_args=_QWEN3_ARGS,
        ),
        "qwen3-235b-2507-instruct-fp8": Preset(
            matches=r"Qwen3-235B-A22B-Instruct-2507-FP8$", tensor_parallel=4, engine_args=_QWEN3_ARGS
        ),
        "qwen3-235b-2507-instruct": Preset(
            matches=r"Qwen3-235B-A22B-Instruct-2507$", tensor_parallel=8, engine_args=_QWEN3_ARGS
        ),
        "qwen3-235b-2507-thinking-fp8": Preset(
            matches=r"Qwen3-235B-A22B-Thinking-2507-FP8$",
            thinking_switch="always",
            reasoning_parser="qwen3",
            tensor_parallel=4,
            engine_args=_QWEN3_ARGS,
        ),
        "qwen3-instruct-2507": Preset(matches=r"Qwen3-.*-Instruct-2507", engine_args=_QWEN3_ARGS),
        "qwen3": Preset(
            matches=r"Qwen3-", thinking_switch="argument", reasoning_parser="qwen3", engine_args=_QWEN3_ARGS
        ),
        "embedded": Preset(
            matches=r"^embedded$",
            thinking_switch="argument",
            reasoning_parser="qwen3",
            engine_args={"max_num_seqs": 32, "enforce_eager": True, "dtype": "float32"},
        ),
        "plain": Preset(matches=r""),
    }
)
"""Tried in order; `plain` fits every model: no thinking, greedy, one GPU."""


def preset_for(config: JudgeConfig) -> Preset:
    """The preset that a job names, or the first whose pattern its model matches. Raises FixJob."""
    if config.preset is not None:
        if config.preset not in PRESETS:
            hint = nearest(config.preset, PRESETS)
            raise FixJob(f"judge.preset: {config.preset} is not known{hint}; known: {', '.join(PRESETS)}")
        preset = PRESETS[config.preset]
    else:
        preset = next(p for p in PRESETS.values() if re.search(p.matches, config.model.rstrip("/")))
    if config.thinking and preset.thinking_switch == "never":
        raise FixJob(
            f"judge.thinking: {config.model} does not think by its preset; set judge.preset, or thinking: false"
        )
    if not config.thinking and preset.thinking_switch == "always":
        raise FixJob(f"judge.thinking: {config.model} always thinks; set judge.thinking: true")
    return preset


def template_arguments(config: JudgeConfig) -> dict[str, Any]:
    """The variables of the chat template."""
    switch = preset_for(config).thinking_switch
    return {"enable_thinking": config.thinking} if switch == "argument" else {}


def sampling(config: JudgeConfig, attempt: int, temperature: float | None = None) -> dict[str, float]:
    """Temperature and its kin for the n-th try; `temperature` is that of a further sample."""
    stated = {key: value for key, value in config.sampling.model_dump().items() if value is not None}
    drawn = {**(_QWEN3_THINKING if config.thinking else _GREEDY), **stated}
    if temperature is not None:
        drawn["temperature"] = temperature
    drawn["temperature"] = tried_at(drawn["temperature"], attempt)
    return drawn


def tried_at(temperature: float, attempt: int) -> float:
    """The temperature of the n-th try: a reply that gave no scores at 0 would come back the same, so 0.7 at least."""
    return max(temperature, 0.7) if attempt else temperature


def tensor_parallel(config: JudgeConfig) -> int:
    """GPUs that one replica spans."""
    return config.tensor_parallel or preset_for(config).tensor_parallel
