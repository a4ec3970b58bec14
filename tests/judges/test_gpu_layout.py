"""Parallel sizes: what they reserve, what they tell vLLM, and which models cannot be cut so."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from coigw_judge.errors import FixJob
from coigw_judge.judges import gpu_layout
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.gpu_layout import GpuLayout, check_shape, layouts, shape_of, why_not
from coigw_judge.judges.vllm.arguments import NEUTRAL_ARGS, engine_arguments
from coigw_judge.judges.vllm.engine import VllmEngine

# Sizes as the models' own config.json have them.
QWEN3_235B = {
    "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128, "num_hidden_layers": 94,
    "num_experts": 128, "moe_intermediate_size": 1536, "intermediate_size": 12288, "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}  # fmt: skip
QWEN3_30B = QWEN3_235B | {
    "hidden_size": 2048, "num_attention_heads": 32, "num_hidden_layers": 48, "moe_intermediate_size": 768,
    "intermediate_size": 6144,
}  # fmt: skip
QWEN3_32B = {
    "hidden_size": 5120, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "num_hidden_layers": 64, "intermediate_size": 25600,
}  # fmt: skip
QWEN3_4B = QWEN3_32B | {
    "hidden_size": 2560, "num_attention_heads": 32, "num_hidden_layers": 36, "intermediate_size": 9728,
}  # fmt: skip
BLOCKS = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3"}}
FP8 = "Qwen/Qwen3-235B-A22B-FP8"


def config(model: str = FP8, **keys: Any) -> JudgeConfig:
    return JudgeConfig(model=model, **keys)


# What is reserved


@pytest.mark.parametrize(
    ("keys", "gpus"),
    [
        ({}, 4),  # by its preset
        ({"tensor_parallel": 2}, 2),
        ({"tensor_parallel": 4, "data_parallel": 2, "expert_parallel": True}, 8),
        ({"engine_args": {"tensor_parallel_size": 8}}, 8),
        ({"engine_args": {"pipeline_parallel_size": 2}}, 8),
        ({"tensor_parallel": 4, "engine_args": {"tensor_parallel_size": 4}}, 4),
        ({"tensor_parallel": 1, "gpus_per_replica": 0.5}, 0.5),
        ({"gpus_per_replica": 8}, 8),
    ],
    ids=str,
)
def test_a_replica_is_given_what_its_parallel_sizes_make(keys: dict[str, Any], gpus: float) -> None:
    assert VllmEngine(config(**keys), cpu_build=False).gpus_per_replica() == gpus


def test_who_needs_no_gpu_is_given_none() -> None:
    def gpus(**keys: Any) -> float:
        return engine_of(JudgeConfig(**keys)).gpus_per_replica()

    assert VllmEngine(config(), cpu_build=True).gpus_per_replica() == 0
    assert gpus(engine="endpoint", model="m", base_url="http://a/v1") == 0
    assert gpus(engine="a:B") == 0
    assert gpus(engine="a:B", tensor_parallel=4, data_parallel=2) == 8


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"gpus_per_replica": 2}, "tensor_parallel: 4 makes 4"),
        ({"gpus_per_replica": 4.5}, "whole GPUs"),
        ({"engine_args": {"tensor_parallel_size": "8"}}, "not a whole number"),
        ({"engine_args": {"nnodes": 2}}, "lives on one node"),
        ({"engine_args": {"distributed_executor_backend": "ray"}}, "lives on one node"),
        ({"engine_args": {"data_parallel_backend": "ray"}}, "lives on one node"),
    ],
    ids=str,
)
def test_what_no_actor_can_hold_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(FixJob, match=said):
        VllmEngine(config(**keys), cpu_build=False).gpus_per_replica()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tensor_parallel": 4, "engine_args": {"tensor_parallel_size": 8}}, "contradicts engine_args.tensor_parallel"),
        ({"data_parallel": 2, "engine_args": {"data_parallel_size": 4}}, "contradicts engine_args.data_parallel_size"),
        ({"expert_parallel": True, "engine_args": {"enable_expert_parallel": False}}, "contradicts engine_args"),
        ({"engine": "endpoint", "base_url": "http://a/v1", "data_parallel": 2}, "the server's own affair"),
    ],
    ids=str,
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**keys)


# What vLLM is told


def test_vllm_runs_its_workers_as_processes_of_the_actor() -> None:
    told = engine_arguments(config(tensor_parallel=4, data_parallel=2, expert_parallel=True))
    assert told["distributed_executor_backend"] == told["data_parallel_backend"] == "mp"
    assert (told["tensor_parallel_size"], told["data_parallel_size"], told["data_parallel_size_local"]) == (4, 2, 2)
    assert told["enable_expert_parallel"] is True
    alone = engine_arguments(config(tensor_parallel=1))
    assert "distributed_executor_backend" not in alone and "data_parallel_size" not in alone
    assert {name for name in told.keys() | alone.keys() if told.get(name) != alone.get(name)} <= NEUTRAL_ARGS


def test_vllm_has_all_arguments_that_are_named_here() -> None:
    arg_utils = pytest.importorskip("vllm.engine.arg_utils")
    known = set(arg_utils.AsyncEngineArgs.__dataclass_fields__)
    named = GpuLayout(tensor=2, data=2, experts=True).arguments().keys() | set(gpu_layout.ELSEWHERE)
    assert named | {gpu_layout.PIPELINE, gpu_layout.CONTEXT, "moe_backend"} <= known


# What a model can be cut into


@pytest.mark.parametrize(
    ("described", "keys", "fits"),
    [
        (QWEN3_235B | BLOCKS, {"tensor": 4}, True),
        (QWEN3_235B | BLOCKS, {"tensor": 8}, False),  # vllm #17569
        (QWEN3_235B | BLOCKS, {"tensor": 8, "experts": True}, True),
        (QWEN3_235B | BLOCKS, {"tensor": 4, "data": 2}, False),  # vLLM cuts experts over both
        (QWEN3_235B | BLOCKS, {"tensor": 4, "data": 2, "experts": True}, True),
        (QWEN3_235B | BLOCKS, {"tensor": 2, "data": 2}, True),
        (QWEN3_235B | BLOCKS, {"tensor": 4, "pipeline": 2}, True),
        (QWEN3_235B, {"tensor": 8}, True),
        (QWEN3_235B, {"tensor": 3}, False),
        (QWEN3_235B, {"tensor": 64}, True),
        (QWEN3_235B, {"tensor": 128}, False),
        (QWEN3_235B, {"pipeline": 95}, False),
        (QWEN3_30B | BLOCKS, {"tensor": 2}, True),
        (QWEN3_30B | BLOCKS, {"tensor": 4}, False),
        (QWEN3_32B | BLOCKS, {"tensor": 8}, True),
        (QWEN3_32B, {"tensor": 2, "experts": True}, False),
        (QWEN3_32B, {"tensor": 16}, True),  # 8 key-value heads on 16 GPUs, each twice
        (QWEN3_4B | BLOCKS, {"tensor": 4}, True),
        (QWEN3_4B | BLOCKS, {"tensor": 8}, False),  # 1,216 columns of its rows
        (QWEN3_4B, {"tensor": 8}, True),
        (QWEN3_32B | {"num_attention_heads": 48, "num_key_value_heads": 6}, {"tensor": 4}, False),
        (
            QWEN3_32B | {"num_attention_heads": 48, "num_key_value_heads": 6, "intermediate_size": 24576},
            {"tensor": 12},
            True,
        ),
        ({"text_config": QWEN3_4B, **BLOCKS}, {"tensor": 8}, False),
        ({}, {"tensor": 8}, True),  # nothing is known, so nothing is refused
    ],
    ids=str,
)
def test_how_a_model_can_be_cut(described: dict[str, Any], keys: dict[str, Any], fits: bool) -> None:
    assert (not why_not(shape_of(described), GpuLayout(**keys))) == fits


def test_the_refusal_has_the_numbers_and_names_what_fits() -> None:
    with pytest.raises(FixJob) as refused:
        check_shape(config(tensor_parallel=8), QWEN3_235B | BLOCKS)
    said = str(refused.value)
    assert "1,536 columns cut into 8 are 192 each" in said and "FP8 blocks of 128" in said and "#17569" in said
    assert "`tensor_parallel: 8, expert_parallel: true`" in said
    assert "`tensor_parallel: 4, data_parallel: 2, expert_parallel: true`" in said
    assert "`tensor_parallel: 4` with 2 times the replicas" in said


@pytest.mark.parametrize(
    "described", [QWEN3_235B, QWEN3_235B | BLOCKS, QWEN3_30B | BLOCKS, QWEN3_32B | BLOCKS, QWEN3_4B]
)
def test_what_a_refusal_advises_is_not_refused(described: dict[str, Any]) -> None:
    shape = shape_of(described)
    refused = 0
    for gpus in (1, 2, 3, 4, 6, 8, 12, 16):
        for wanted in layouts(gpus, has_experts=True):
            if not why_not(shape, wanted):
                continue
            refused += 1
            keys = {"tensor_parallel": wanted.tensor, "data_parallel": wanted.data, "expert_parallel": wanted.experts}
            with pytest.raises(FixJob) as refusal:
                check_shape(config(**keys), described)
            said = str(refusal.value)
            advised = [other for other in layouts(gpus, bool(shape.experts)) if f"`{other}`" in said]
            assert advised and not any(why_not(shape, other) for other in advised), (wanted, said)
    assert refused


def test_who_says_how_uneven_experts_are_loaded_is_let_through() -> None:
    check_shape(config(tensor_parallel=8, engine_args={"moe_backend": "triton"}), QWEN3_235B | BLOCKS)
    with pytest.raises(FixJob):
        check_shape(config(tensor_parallel=8, engine_args={"moe_backend": "auto"}), QWEN3_235B | BLOCKS)


def test_a_job_is_refused_before_anything_is_started(
    tmp_path: Path, write_job: Any, capsys: pytest.CaptureFixture[str], ray_cluster: None
) -> None:
    from coigw_judge.cli.main import main
    from coigw_judge.judges import embedded

    pytest.importorskip("vllm")
    model = tmp_path / "model"
    model.mkdir()
    for file in embedded.build().iterdir():
        if file.suffix != ".safetensors":
            (model / file.name).symlink_to(file)
    (model / "config.json").unlink()
    described = json.loads((embedded.build() / "config.json").read_text()) | QWEN3_235B | BLOCKS
    (model / "config.json").write_text(json.dumps(described))
    job = write_job(
        [{"answer": "雨", "query": "写雨"}],
        rubrics=["answer"],
        gate={"each": 8},
        judge={"model": str(model), "tensor_parallel": 8},
    )
    assert main(["run", str(job)]) == 2
    said = capsys.readouterr().err
    assert "1,536 columns cut into 8 are 192 each" in said and "Traceback" not in said
