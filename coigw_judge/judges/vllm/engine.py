"""vLLM as an engine of judges: what a job must know of it before it is started."""

import json
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path
from typing import Any

from coigw_judge.errors import FixJudge
from coigw_judge.hashing import fingerprint
from coigw_judge.judges import embedded
from coigw_judge.judges.gpu_layout import check_shape, layout_of, stated_gpus
from coigw_judge.judges.presets import preset_for, sampling, template_arguments
from coigw_judge.judges.protocol import PROTOCOL, Engine, Identity, Judge, Yardstick
from coigw_judge.judges.vllm.arguments import (
    NEUTRAL_ARGS,
    cache_block,
    engine_arguments,
    model_dir,
    on_cpu,
    require_vllm,
    sequences_at_once,
)
from coigw_judge.judges.vllm.judge import VllmJudge
from coigw_judge.prompting.tokens import Encoder


@dataclass(frozen=True)
class VllmEngine(Engine):
    """A vLLM engine in the replica's own process. `cpu_build`: it computes on processors."""

    cpu_build: bool = field(default_factory=on_cpu)

    def check(self) -> None:
        """Refuse a preset that does not exist, or does not think as the job says. Raises FixJob."""
        preset_for(self.config)

    def identify(self) -> Identity:
        """Who would judge, from the model's small files. Raises FixJudge; FixJob where the GPUs cannot hold it so."""
        config = self.config
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

    def encoder(self) -> Encoder:
        """The model's tokenizer and chat template. Raises FixJudge."""
        return Encoder(model_dir(self.config)[0], template_arguments(self.config))

    def yardstick(self) -> Yardstick:
        """The context and the tokenizer, without the engine. Raises FixJudge where only the engine could say."""
        folder = model_dir(self.config)[0]
        encoder = Encoder(folder, template_arguments(self.config))
        return Yardstick(self._context(folder), sum(map(len, encoder.frame_ids)), encoder.count)

    def _context(self, folder: Path) -> int:
        """What the job says, else what the model does; an engine that differs is refused when it starts."""
        stated = engine_arguments(self.config).get("max_model_len")
        if stated is None:
            described = _described(folder)
            stated = (described.get("text_config") or described).get("max_position_embeddings")
        if not isinstance(stated, int) or stated < 1:
            raise FixJudge("judge.engine_args.max_model_len: say the context as a number of tokens; the model does not")
        return stated

    def requests_at_once(self) -> int:
        """`judge.concurrency`, else the sequences that its scheduler runs."""
        return self.config.concurrency or sequences_at_once(self.config)

    def cache_block(self) -> int:
        """Tokens of a block of its KV cache; 0 where it keeps none for later requests."""
        return cache_block(self.config)

    def gpus_per_replica(self) -> float:
        """As many as its parallel sizes make, unless the job says otherwise; none on processors. Raises FixJob."""
        layout = layout_of(self.config)
        stated = stated_gpus(self.config, layout)
        return stated if stated is not None else 0.0 if self.cpu_build else float(layout.gpus)

    def gpus_planned(self) -> float:
        """Those of a GPU build where the model spans several: such a job is planned from a laptop, too."""
        here = self.gpus_per_replica()
        if here or self.config.gpus_per_replica is not None:
            return here
        gpus = layout_of(self.config).gpus
        return float(gpus) if gpus > 1 else 0.0

    def processors(self, gpus: float) -> float:
        """On processors all it can get; else one per GPU, whose process polls, and one that feeds them."""
        return inf if self.cpu_build else 1.0 + ceil(gpus)

    def open(self) -> Judge:
        """Load the model."""
        return VllmJudge(self.config)


def _described(folder: Path) -> dict[str, Any]:
    """A model's config.json. Raises FixJudge."""
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FixJudge(f"{folder}: its config.json cannot be read ({error}); fetch the model again") from error
    if not isinstance(described, dict):
        raise FixJudge(f"{folder}: its config.json holds no object; fetch the model again")
    return described
