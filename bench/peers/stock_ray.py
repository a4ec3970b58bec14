"""Stock `ray.data.llm`: its processor with default batches, one engine, the job's engine arguments and sampling.

Nothing of its route is changed. A subclass of its engine stage notes what the engine itself says of each request
(tokens from the cache, when it was done), and warms the engine by one request per rubric before the first real one, as
the other systems are warmed.
"""

import asyncio
import json
import os
import time
from functools import partial
from typing import Any

from asked import cause, requests, rows, sampled
from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF
from systems import WARM_UP, Outcome, Ran, counted

from coigw_judge.job.job import LoadedJob

_WARM_UP = "COIGW_PEERS_WARM_UP"


class Noted(vLLMEngineStageUDF):
    """The stock stage, and beside each answer what the engine counted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cached: dict[int, int] = {}
        self._warm = asyncio.Lock()
        self._warmed = False
        answer = self.llm._generate_async

        async def noted(request: Any) -> Any:
            output = await answer(request)
            self._cached[request.request_id] = output.num_cached_tokens or 0
            return output

        self.llm._generate_async = noted

    async def _generate_with_error_handling(self, row: dict[str, Any], batch_uuid: Any) -> dict[str, Any]:
        async with self._warm:
            if not self._warmed:
                for each in json.loads(os.environ[_WARM_UP]):
                    await self.llm.generate_async({**each, self.IDX_IN_BATCH_COLUMN: 0})
                self._warmed = True
        found: dict[str, Any] = await super()._generate_with_error_handling(row, batch_uuid)
        return {**found, "cached": self._cached.pop(found["request_id"]), "done": time.time()}


_LEFT = (
    *("rubric", "generated_text", "num_input_tokens", "num_generated_tokens"),
    *("cached", "done", "time_taken_llm"),
)


def _bounds(max_tokens: int, schema: str) -> dict[str, Any]:
    return {"max_tokens": max_tokens, "structured_outputs": {"json": schema}}


def judge(job: LoadedJob) -> Ran:
    """One map over all requests."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig
    from transformers import AutoTokenizer

    from coigw_judge.judges.presets import template_arguments
    from coigw_judge.judges.vllm.arguments import engine_arguments, model_dir

    records, folder = rows(job), str(model_dir(job.config.judge)[0])
    asked, template = requests(job, records), template_arguments(job.config.judge)
    params = sampled(job)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    render = partial(tokenizer.apply_chat_template, tokenize=False, add_generation_prompt=True, **template)
    warm_up = [
        {"prompt": render(each.messages), "sampling_params": {**params, **_bounds(each.max_tokens, each.schema)}}
        for each in requests(job, [WARM_UP])
    ]
    # Ray's own niceness, 15, would let any other process on the machine go before its engine only.
    variables = {_WARM_UP: json.dumps(warm_up, ensure_ascii=False), "RAY_worker_niceness": "0"}
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables})
    ray.data.DataContext.get_current().enable_progress_bars = False
    config = vLLMEngineProcessorConfig(
        model_source=folder,
        engine_kwargs=engine_arguments(job.config.judge),
        concurrency=1,
        placement_group_config={"bundles": [{"CPU": 1, "GPU": 0}]},  # else the stage wants a GPU
        log_engine_metrics=False,
        chat_template_stage={"enabled": True, "chat_template_kwargs": template},
    )
    processor = build_processor(
        config,
        preprocess=lambda row: {
            "messages": row["messages"],
            "sampling_params": {**params, **_bounds(int(row["max_tokens"]), row["schema"])},
            "rubric": row["rubric"],
        },
        postprocess=lambda row: {name: row[name] for name in _LEFT},
    )
    # Not by assignment: that would validate the stage anew, which by then has lost its placement and wants a GPU.
    processor.get_stage_by_name("vLLMEngineStage").__dict__["fn"] = Noted
    listed = [
        {"messages": each.messages, "rubric": each.rubric, "schema": each.schema, "max_tokens": each.max_tokens}
        for each in asked
    ]
    answers = processor(ray.data.from_items(listed)).take_all()
    outcomes = [
        Outcome(
            prompt=each["num_input_tokens"],
            cached=each["cached"],
            generated=each["num_generated_tokens"],
            cause=cause(job, each["rubric"], each["generated_text"]),
        )
        for each in answers
    ]
    first = min(each["done"] - each["time_taken_llm"] for each in answers)
    return counted(len(records), outcomes, first, max(each["done"] for each in answers))
