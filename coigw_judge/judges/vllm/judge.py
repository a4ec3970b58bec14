"""vLLM's async engine as a judge.

Requests go in as token ids (prompting/tokens.py), replies come back as JSON under a grammar without free white space:
Qwen models otherwise can run into endless blanks (vllm #38696), and so does the untrained embedded judge.
Only the final output of a request is asked for; `finish_reason` and the three token counts are kept.
vllm is imported when an engine is made: identifying a judge must not cost its 16 seconds.
"""

import dataclasses
import functools
import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coigw_judge.errors import FixJudge, JudgeUnavailable
from coigw_judge.judges.config import LISTED, JudgeConfig
from coigw_judge.judges.gpu_layout import layout_of
from coigw_judge.judges.presets import sampling, template_arguments
from coigw_judge.judges.protocol import Reply
from coigw_judge.judges.vllm.arguments import (
    check_engine_arguments,
    engine_arguments,
    model_dir,
    prepare_environment,
    require_vllm,
    sequences_at_once,
)
from coigw_judge.judges.vllm.expected_scores import Chances, Drawn, Probe, expected_scores
from coigw_judge.judges.vllm.prefix_cache import PrefixCache
from coigw_judge.judges.vllm.ranks import Ranks
from coigw_judge.judges.vllm.token_text import Spelling
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.tokens import Encoder

if TYPE_CHECKING:
    from vllm import CompletionOutput, RequestOutput, SamplingParams


class VllmJudge:
    """A Judge on one vLLM engine. Raises FixJudge where vLLM refuses its configuration."""

    def __init__(self, config: JudgeConfig) -> None:
        require_vllm()
        layout = layout_of(config)
        if config.engine_args:
            check_engine_arguments(config)
        prepare_environment(layout.gpus)
        from vllm import AsyncEngineArgs, AsyncLLMEngine
        from vllm.config import StructuredOutputsConfig

        self._config = config
        folder, revision = model_dir(config)
        self.encoder = Encoder(folder, template_arguments(config))
        arguments = engine_arguments(config)
        is_local = config.model == "embedded" or Path(config.model).expanduser().is_dir()
        arguments |= {"model": str(folder)} if is_local else {"model": config.model, "revision": revision}
        try:
            # As an object: vLLM writes the reasoning parser into it.
            arguments["structured_outputs_config"] = StructuredOutputsConfig(**arguments["structured_outputs_config"])
            engine_config = AsyncEngineArgs(**arguments).create_engine_config()
        except (ValueError, TypeError) as error:
            raise FixJudge(f"judge: vLLM refuses the configuration: {_first_line(error)}") from error
        self.engine = AsyncLLMEngine.from_vllm_config(engine_config)
        self.context = int(engine_config.model_config.max_model_len)
        self._ideal = PrefixCache(int(engine_config.cache_config.block_size))
        at_once = sequences_at_once(config)
        self.concurrency = config.concurrency or at_once + max(8, at_once // 4)
        self._spelling = Spelling(self.encoder.decode, self.encoder.plain(":")[-1])
        self._ids = itertools.count()
        self._ranks = Ranks(layout.data) if layout.data > 1 else None

    def tokens(self, text: str) -> int:
        """How many tokens a text takes; counted texts stay encoded for the requests that show them."""
        return self.encoder.count(text)

    async def ask(self, ask: Ask) -> Reply:
        """Answer one request, at a fixed seed per sample and attempt."""
        if self.encoder.at_least(ask.prompt) > self.context:
            return Reply(cause="too_long", detail=f"more than {self.context} tokens")
        ids = self.encoder.encode(ask.prompt)
        budget = ask.reply_tokens + (self._config.thinking_tokens if self._config.thinking else 0)
        if len(ids) + budget > self.context:
            detail = f"{len(ids)} prompt and up to {budget} reply tokens; the context has {self.context}"
            return Reply(cause="too_long", detail=detail, prompt_tokens=0)
        if self._ranks is None:
            return await self._answer(ask, ids, budget)
        with self._ranks.of(ask.prompt.fields[0]) as rank:
            return await self._answer(ask, ids, budget, data_parallel_rank=rank)

    async def _answer(self, ask: Ask, ids: list[int], budget: int, **where: int) -> Reply:
        shareable = self._ideal.ask(ids)
        final = await self._generate(ids, self._sampling(ask, budget), **where)
        if isinstance(final, Reply):
            return dataclasses.replace(final, shareable_tokens=shareable)
        done = final.outputs[0]
        reply = Reply(
            text=done.text,
            finish_reason=done.finish_reason,
            prompt_tokens=len(ids),
            cached_tokens=final.num_cached_tokens or 0,
            generated_tokens=len(done.token_ids),
            shareable_tokens=shareable,
        )
        return await self._with_expected(reply, ask, ids, done, where) if ask.expected else reply

    async def _with_expected(
        self, reply: Reply, ask: Ask, ids: list[int], done: "CompletionOutput", where: Mapping[str, int]
    ) -> Reply:
        """The reply with the expected scores of what it says; probes are part of what it cost.

        vLLM 0.32 takes probabilities after the grammar's mask and before the temperature.
        """
        spent: Counter[str] = Counter()

        async def answered(probe: Probe) -> Chances | None:
            asked = [*ids, *probe.ids]
            shareable = self._ideal.ask(asked)
            final = await self._generate(asked, self.probe_parameters(probe), **where)
            if isinstance(final, Reply):
                return None
            spent.update(prompt_tokens=len(asked), cached_tokens=final.num_cached_tokens or 0, generated_tokens=1)
            spent.update(shareable_tokens=shareable)
            return _chances(final.outputs[0], 0)

        self._ideal.ask([*ids, *done.token_ids])  # a probe finds what the reply itself left in the cache
        drawn = list(done.token_ids)
        while drawn and drawn[-1] in self.encoder.control_ids:
            drawn.pop()  # the end of the turn, which is no part of the text
        scores = await expected_scores(
            Drawn(drawn, functools.partial(_chances, done)), ask.schema, self._spelling, answered
        )
        cost = {name: getattr(reply, name) + tokens for name, tokens in spent.items()}
        return dataclasses.replace(reply, expected=scores.values, expected_missing=scores.missing, **cost)

    async def _generate(self, ids: list[int], parameters: "SamplingParams", **where: int) -> "RequestOutput | Reply":
        """What the engine made of a request, or the reply to one that it refused. Raises JudgeUnavailable."""
        from vllm import TokensPrompt
        from vllm.exceptions import VLLMClientError, VLLMServerError

        request = f"{next(self._ids)}"
        final = None
        try:
            prompt = TokensPrompt(prompt_token_ids=ids)
            async for output in self.engine.generate(prompt, parameters, request, **where):
                final = output
        except (VLLMClientError, ValueError) as error:
            return Reply(cause="refused", detail=f"vLLM: {_first_line(error)}", prompt_tokens=len(ids))
        except VLLMServerError as error:
            if self.engine.errored or isinstance(error, type(self.engine.dead_error)):
                raise JudgeUnavailable("the vLLM engine died") from error
            return Reply(cause="refused", detail=f"vLLM: {_first_line(error)}", prompt_tokens=len(ids))
        if final is None:
            raise JudgeUnavailable("the vLLM engine ended a request without an answer")
        return final

    def _sampling(self, ask: Ask, budget: int) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        schema = json.dumps(ask.schema, ensure_ascii=False)
        return SamplingParams(
            max_tokens=budget,
            seed=ask.seed,
            skip_special_tokens=not self._config.thinking,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(json=schema),
            logprobs=LISTED if ask.expected else None,
            flat_logprobs=ask.expected,
            **sampling(self._config, ask.attempt, ask.temperature),
        )

    def probe_parameters(self, probe: Probe) -> "SamplingParams":
        """One token more, under a grammar that is the rest of the reply's form."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        return SamplingParams(
            max_tokens=1,
            temperature=0.0,
            logprobs=LISTED,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(regex=probe.pattern),
        )

    async def close(self) -> None:
        """End the engine's processes; without it the exit prints EngineDeadError."""
        self.engine.shutdown()


def _chances(done: "CompletionOutput", position: int) -> Chances:
    """The probabilities of the likeliest tokens at a position of what was generated."""
    listed = done.logprobs[position] if done.logprobs is not None else None
    return {} if listed is None else {token: math.exp(entry.logprob) for token, entry in listed.items()}


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
