"""Daft's prompt() at a server: one column per rubric, its OpenAI provider with chat completions.

Its provider `vllm-prefix-caching` takes no system text, no reply format per request and one set of sampling parameters
per column, and opens an engine per column: with four rubrics, four engines.
"""

import daft
from asked import requests, rows
from daft.ai.openai.provider import OpenAIProvider
from daft.functions.ai import prompt
from served import MODEL, at_server, by_rubric, openai_arguments
from systems import Ran

from coigw_judge.job.job import LoadedJob


def judge(job: LoadedJob) -> Ran:
    """One frame, a row per record."""
    records = rows(job)
    asked = by_rubric(requests(job, records))
    server = at_server(job)
    provider = OpenAIProvider(name="server", base_url=f"{server.url}/v1", api_key="none")
    frame = daft.from_pydict({rubric: [each.user for each in found] for rubric, found in asked.items()})
    for rubric, found in asked.items():
        reply = prompt(
            daft.col(rubric),
            system_message=found[0].system,
            provider=provider,
            model=MODEL,
            use_chat_completions=True,
            **openai_arguments(job, found[0].schema, found[0].max_tokens),
        )
        frame = frame.with_column(f"reply_{rubric}", reply)
    answers = frame.to_pydict()
    replies = [(rubric, text) for rubric in asked for text in answers[f"reply_{rubric}"]]
    return server.ran(job, len(records), replies)
