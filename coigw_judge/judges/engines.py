"""From `judge.engine` to the Engine that it names, and to a judge at work."""

from collections.abc import Mapping

from coigw_judge.judges.config import ENDPOINT, OWN_CLASS, VLLM, EngineKind, JudgeConfig
from coigw_judge.judges.endpoint.engine import EndpointEngine
from coigw_judge.judges.hang_watch import Watched
from coigw_judge.judges.own_class import OwnClassEngine
from coigw_judge.judges.protocol import Engine, Judge
from coigw_judge.judges.vllm.engine import VllmEngine

_ENGINES: Mapping[EngineKind, type[Engine]] = {
    VLLM: VllmEngine,
    ENDPOINT: EndpointEngine,
    OWN_CLASS: OwnClassEngine,
}


def engine_of(config: JudgeConfig) -> Engine:
    """The engine that a job's judge runs on; nothing is started or read."""
    return _ENGINES[config.engine_kind](config)


def open_judge(config: JudgeConfig) -> Judge:
    """Start the judge; for vLLM that loads the model. It is watched: one that hangs raises JudgeUnavailable.

    Raises FixJudge, FixJob, JudgeUnavailable, and whatever the constructor of a class of your own raises.
    """
    engine = engine_of(config)
    return Watched(engine.open(), None if engine.times_out_itself else config.timeout)
