"""How many requests a judge runs at once."""

from coigw_judge.judges.config import JudgeConfig


def requests_at_once(config: JudgeConfig) -> int:
    """How many requests one replica works on at a time, as far as that can be known before it is started."""
    if config.engine == "endpoint":
        from coigw_judge.judges.endpoint.servers import EACH, waiting_room

        each, servers = config.concurrency or EACH, len(config.servers)
        return each * servers + waiting_room(servers, each)
    if config.concurrency is not None:
        return config.concurrency
    if config.engine == "vllm":
        from coigw_judge.judges.vllm.judge import running

        return running(config)
    return 16
