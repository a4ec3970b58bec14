"""A class of the user's own as an engine of judges, by its dotted path (`package.module:Class`)."""

import importlib
from collections.abc import Callable
from typing import Any

from coigw_judge.errors import FixJob, FixJudge
from coigw_judge.hashing import fingerprint
from coigw_judge.judges.gpu_layout import GpuLayout, stated_gpus
from coigw_judge.judges.protocol import TURN_TOKENS, Engine, Identity, Judge, Yardstick


class OwnClassEngine(Engine):
    """A judge made by the class that `judge.engine` names, with its JudgeConfig as the only argument."""

    def identify(self) -> Identity:
        """By the class's path and its options. Raises FixJob where it cannot be imported."""
        config = self.config
        made = self._class()
        revision = config.revision or getattr(made, "revision", None)
        described = self.declared() | {"options": config.options, "revision": revision}
        return Identity(
            engine=config.engine,
            model=config.model or config.engine,
            revision=revision,
            fingerprint=fingerprint(described),
            meaningless=bool(getattr(made, "meaningless", False)),
        )

    def yardstick(self) -> Yardstick | None:
        """By `judge.context`, a character for a token."""
        return None if self.config.context is None else Yardstick(self.config.context, TURN_TOKENS, len)

    def requests_at_once(self) -> int:
        """`judge.concurrency`; its instances may say otherwise."""
        return self.config.concurrency or 16

    def gpus_per_replica(self) -> float:
        """What the job says, be it by its parallel sizes. Raises FixJob."""
        config = self.config
        layout = GpuLayout(
            tensor=config.tensor_parallel or 1, data=config.data_parallel or 1, experts=config.expert_parallel
        )
        stated = stated_gpus(config, layout)
        if stated is not None:
            return stated
        return float(layout.gpus) if config.tensor_parallel or config.data_parallel else 0.0

    def open(self) -> Judge:
        """Make one. Raises FixJob, FixJudge, and whatever its constructor raises."""
        judge = self._class()(self.config)
        if not isinstance(judge, Judge):
            raise FixJudge(f"judge.engine: {self.config.engine} is no Judge: it needs `concurrency`, `ask` and `close`")
        return judge

    def _class(self) -> Callable[..., Any]:
        dotted = self.config.engine
        module_name, _, class_name = dotted.partition(":")
        try:
            made = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise FixJob(f"judge.engine: {dotted} cannot be imported: {error}") from error
        if not callable(made):
            raise FixJob(f"judge.engine: {dotted} is not a class")
        return made  # type: ignore[no-any-return]
