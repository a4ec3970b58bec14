"""How one replica lies on GPUs: what it must be given, and whether its model can be cut that way.

A replica is `tensor` x `data` x `pipeline` x `context` processes, each with a GPU of its own, all on one node. What
vLLM 0.32 refuses only after it has begun to load, minutes into a job and on every replica, is worked out here from
the model's config.json. Its rules, with the place in vLLM where each stands:

- Attention heads are dealt over the tensor parallel size, without a rest (config/model.py,
  verify_with_parallel_config). Key-value heads are dealt, or repeated where there are fewer of them than GPUs, without
  a rest either way (models/qwen3_moe.py). So the 4 of Qwen3-235B-A22B go onto 1, 2, 4, 8, 16, ... GPUs.
- Experts are cut over tensor x data parallel size: data parallel repeats the attention, not the experts
  (fused_moe/config.py, FusedMoEParallelConfig.make). With expert parallel each GPU has whole experts instead.
- Weights in FP8 blocks: what a GPU has must be whole blocks (quantization/utils/fp8_utils.py,
  validate_fp8_block_shape and validate_fp8_block_shape_moe). 1,536 columns of an expert in 8 are 192, in 4 are 384:
  Qwen3-235B-A22B-FP8 runs at 4 and not at 8 (vllm #17569). Columns of merged matrices (gate and up, query, key and
  value) are excused from this in dense layers, rows (down, output) are not.
  vLLM 0.32 can load uneven experts after all: by finer scales, which Triton kernels alone can use, or by padding. Who
  wants that says so with engine_args.moe_backend, and is then not refused here; it is not what a GPU is bought for.

Whether the weights fit into the GPUs' memory is not looked at.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from coigw_judge.errors import FixJob
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.presets import tensor_parallel

PIPELINE = "pipeline_parallel_size"
CONTEXT = "prefill_context_parallel_size"
"""Engine arguments that are sizes too, and that a job gives by no key of its own."""

ELSEWHERE = (
    *("nnodes", "node_rank", "master_addr", "master_port", "data_parallel_rank", "data_parallel_start_rank"),
    *("data_parallel_address", "data_parallel_rpc_port", "data_parallel_external_lb", "data_parallel_hybrid_lb"),
    *("data_parallel_multi_port_external_lb", "data_parallel_size_local"),
)
"""Engine arguments that spread one engine over nodes, or make it one of several that know each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLayout:
    """One replica's parallel sizes, as in vLLM's arguments."""

    tensor: int = 1
    data: int = 1
    experts: bool = False
    """Whether GPUs hold whole experts instead of parts of each (enable_expert_parallel)."""
    pipeline: int = 1
    context: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one replica, which are as many as its processes."""
        return self.tensor * self.data * self.pipeline * self.context

    @property
    def cuts(self) -> int:
        """Into how many parts each expert is cut."""
        return 1 if self.experts else self.tensor * self.data * self.context

    def arguments(self) -> dict[str, Any]:
        """The arguments of vLLM's engine.

        Its workers are processes of the actor ("mp") and so see the GPUs that Ray gave to it: left to choose, vLLM
        starts Ray actors of its own where the job runs inside a placement group. Data parallel ranks are processes of
        the same engine client, all of them local.
        """
        arguments: dict[str, Any] = {"tensor_parallel_size": self.tensor}
        if self.gpus > 1:
            arguments["distributed_executor_backend"] = "mp"
        if self.data > 1:
            arguments |= {"data_parallel_size": self.data, "data_parallel_size_local": self.data}
            arguments["data_parallel_backend"] = "mp"
        if self.experts:
            arguments["enable_expert_parallel"] = True
        return arguments

    def __str__(self) -> str:
        parts = [f"tensor_parallel: {self.tensor}"]
        parts += [f"data_parallel: {self.data}"] if self.data > 1 else []
        parts += ["expert_parallel: true"] if self.experts else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model's sizes by its config.json; 0 or None where it does not give them."""

    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    layers: int
    dense: tuple[int, ...]
    """Widths of layers that are not experts: dense layers, shared experts."""
    experts: int
    """How many."""
    expert_size: int
    """The width of one."""
    block: tuple[int, int] | None
    """Columns and rows that one FP8 scale covers."""


def layout_of(config: JudgeConfig) -> GpuLayout:
    """Parallel sizes, from a judge's keys, engine_args, preset. Raises FixJob where no actor can hold that."""
    arguments = config.engine_args
    for name in ELSEWHERE:
        if arguments.get(name) not in (None, False):
            raise FixJob(f"judge.engine_args.{name}: {_ONE_NODE}; leave it out")
    for name in ("distributed_executor_backend", "data_parallel_backend"):
        if arguments.get(name) in ("ray", "external_launcher"):
            raise FixJob(f"judge.engine_args.{name}: {arguments[name]}: {_ONE_NODE}; leave it out")
    return GpuLayout(
        tensor=_size(arguments, "tensor_parallel_size", tensor_parallel(config)),
        data=_size(arguments, "data_parallel_size", config.data_parallel or 1),
        experts=bool(arguments.get("enable_expert_parallel", config.expert_parallel)),
        pipeline=_size(arguments, PIPELINE, 1),
        context=_size(arguments, CONTEXT, 1),
    )


_ONE_NODE = "a replica lives on one node, as processes of its actor, and more than a node is not supported yet"


def _size(arguments: Mapping[str, Any], name: str, otherwise: int) -> int:
    size = arguments.get(name, otherwise)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise FixJob(f"judge.engine_args.{name}: {size!r} is not a whole number of at least 1")
    return size


def stated_gpus(config: JudgeConfig, layout: GpuLayout) -> float | None:
    """GPUs that the job sets aside for a replica; None where it does not say. Raises FixJob.

    Less than one for several engines on one GPU, or more to have a node for itself.
    """
    stated = config.gpus_per_replica
    if stated is None:
        return None
    if stated > 1 and stated != int(stated):
        raise FixJob(f"judge.gpus_per_replica: {stated:g}: Ray deals out whole GPUs, or a part of one")
    if 0 < stated < layout.gpus and layout.gpus > 1:
        raise FixJob(
            f"judge.gpus_per_replica: {stated:g}, and {layout} makes {layout.gpus}; leave gpus_per_replica out"
        )
    return stated


def shape_of(described: Mapping[str, Any]) -> ModelShape:
    """The sizes in a model's config.json."""
    text = described.get("text_config") or described

    def number(*names: str) -> int:
        return next((text[name] for name in names if isinstance(text.get(name), int)), 0)

    heads, hidden = number("num_attention_heads"), number("hidden_size")
    experts = number("num_experts", "n_routed_experts", "num_local_experts")
    width = number("intermediate_size")
    expert_size = (number("moe_intermediate_size") or width) if experts else 0
    shared = number("shared_expert_intermediate_size") or number("n_shared_experts") * expert_size
    has_dense = not experts or bool(text.get("mlp_only_layers")) or number("first_k_dense_replace") > 0
    has_dense = has_dense or number("decoder_sparse_step") > 1
    return ModelShape(
        heads=heads,
        kv_heads=number("num_key_value_heads") or heads,
        head_size=number("head_dim") or (hidden // heads if heads else 0),
        hidden=hidden,
        layers=number("num_hidden_layers"),
        dense=tuple(size for size in (width if has_dense else 0, shared) if size),
        experts=experts,
        expert_size=expert_size,
        block=_block(described.get("quantization_config") or text.get("quantization_config") or {}),
    )


def _block(quantised: Mapping[str, Any]) -> tuple[int, int] | None:
    block = quantised.get("weight_block_size")
    if quantised.get("quant_method") != "fp8" or not isinstance(block, list) or len(block) != 2:
        return None
    return int(block[0]), int(block[1])


def check_shape(config: JudgeConfig, described: Mapping[str, Any]) -> None:
    """Refuse parallel sizes by which a model cannot be cut. Raises FixJob with the numbers and what fits."""
    shape, layout = shape_of(described), layout_of(config)
    # A quantised model's blocks are left alone where the job changes how it is loaded.
    if "quantization" in config.engine_args:
        shape = replace(shape, block=None)
    chosen = config.engine_args.get("moe_backend", "auto") != "auto"
    why = why_not(shape, layout, uneven_experts=chosen)
    if why:
        raise FixJob(f"judge.tensor_parallel: {config.model} cannot run with {layout}: {why}; {_advice(shape, layout)}")


def why_not(shape: ModelShape, layout: GpuLayout, uneven_experts: bool = False) -> str:
    """Why a model cannot be cut that way, or an empty string. `uneven_experts`: vLLM has the argument for them."""
    return next(_troubles(shape, layout, uneven_experts), "")


def _troubles(shape: ModelShape, layout: GpuLayout, uneven_experts: bool) -> Iterator[str]:
    tensor, cuts = layout.tensor, layout.cuts
    if shape.heads % tensor:
        yield f"its {shape.heads} attention heads cannot be dealt over {tensor} GPUs"
    if shape.kv_heads and max(shape.kv_heads, tensor) % min(shape.kv_heads, tensor):
        yield f"its {shape.kv_heads} key-value heads can neither be dealt over nor repeated on {tensor} GPUs"
    if shape.layers and layout.pipeline > shape.layers:
        yield f"its {shape.layers} layers are fewer than {PIPELINE}: {layout.pipeline}"
    if layout.experts and not shape.experts:
        yield "it has no experts, so expert_parallel must go"
    if shape.experts and tensor > shape.experts:
        yield f"its {shape.experts} experts are fewer than {tensor} GPUs"
    for size in shape.dense:
        yield from _uneven(f"its layers of {size:,} columns", size, tensor, shape.block and (1, shape.block[1]))
    if shape.block and tensor > 1:
        width = shape.heads * shape.head_size
        yield from _uneven(f"its attention's {width:,} columns", width, tensor, (1, shape.block[1]))
    if shape.experts:
        block = None if uneven_experts else shape.block
        yield from _uneven(f"its experts of {shape.expert_size:,} columns", shape.expert_size, cuts, block)


def _uneven(what: str, size: int, parts: int, block: tuple[int, int] | None) -> Iterator[str]:
    if size % parts:
        yield f"{what} cannot be cut into {parts}"
    elif block and parts > 1 and any((size // parts) % side for side in block):
        yield (
            f"{what} cut into {parts} are {size // parts:,} each, which its FP8 blocks of {max(block)} do not divide "
            "(vllm #17569)"
        )


def _advice(shape: ModelShape, layout: GpuLayout) -> str:
    """What fits as many GPUs, the layouts nearest to the wanted one first; and what fits fewer."""
    fits = [other for other in layouts(layout.gpus, bool(shape.experts)) if not why_not(shape, other)]
    fits.sort(key=lambda other: (abs(other.tensor - layout.tensor), other.experts))
    fewer = [n for n in range(layout.gpus, 0, -1) if layout.gpus % n == 0 and not why_not(shape, GpuLayout(tensor=n))]
    advice = [f"`{fit}`" for fit in fits[:2]]
    if fewer and fewer[0] < layout.gpus:
        advice.append(f"`tensor_parallel: {fewer[0]}` with {layout.gpus // fewer[0]} times the replicas")
    return f"what fits {layout.gpus} GPUs: {', or '.join(advice)}"


def layouts(gpus: int, has_experts: bool) -> list[GpuLayout]:
    """All ways to lay one replica on that many GPUs by tensor, data and expert parallel."""
    sizes = [tensor for tensor in range(gpus, 0, -1) if gpus % tensor == 0]
    kinds = (False, True) if has_experts and gpus > 1 else (False,)
    return [GpuLayout(tensor=tensor, data=gpus // tensor, experts=experts) for tensor in sizes for experts in kinds]
