"""distilabel's pipeline at a server: one task per rubric, its default of 50 rows a batch.

Its own vLLM class passes `logits_processors` for every request, which vLLM has no longer, so that it ends with a
TypeError. A task has one schema and token limit, hence one per rubric; they run side by side.
"""

from asked import Request, requests, rows
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from served import MODEL, at_server, by_rubric, openai_arguments
from systems import Ran

from coigw_judge.job.job import LoadedJob


def judge(job: LoadedJob) -> Ran:
    """One pipeline: a loader and a task per rubric, which know nothing of one another."""
    records = rows(job)
    asked = by_rubric(requests(job, records))
    server = at_server(job)
    with Pipeline(name="peers") as pipeline:
        for rubric, each in asked.items():
            _task(job, f"{server.url}/v1", rubric, each)
    leaves = pipeline.run(use_cache=False)
    replies = []
    for rubric in asked:
        leaf = leaves[f"ask_{rubric}"] if len(asked) > 1 else leaves["default"]
        replies += [(rubric, text) for text in leaf["train"]["generation"]]
    return server.ran(job, len(records), replies)


def _task(job: LoadedJob, url: str, rubric: str, asked: list[Request]) -> None:
    said = [{"instruction": each.user} for each in asked]
    arguments = openai_arguments(job, asked[0].schema, asked[0].max_tokens)
    arguments["max_new_tokens"] = arguments.pop("max_tokens")
    arguments["extra_body"]["seed"] = arguments.pop("seed")  # its method has no such argument
    llm = OpenAILLM(model=MODEL, base_url=url, api_key="none", generation_kwargs=arguments)
    load = LoadDataFromDicts(name=f"load_{rubric}", data=said)
    load >> TextGeneration(name=f"ask_{rubric}", llm=llm, system_prompt=asked[0].system)
