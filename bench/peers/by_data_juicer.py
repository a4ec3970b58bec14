"""Data-Juicer's LLM filter at a server: one operator per rubric, one after another, 16 processes of one request each.

With an engine of its own the operator asks it for one sample at a time. Scores are read from a key `dimension_scores`
only: a reply without it counts as 0.0, and a score of 0.0 as a failure that keeps the sample.
"""

import json

from asked import Request, requests, rows
from data_juicer.core.data import NestedDataset
from data_juicer.ops.filter.llm_analysis_filter import LLMAnalysisFilter
from data_juicer.utils.constant import Fields, StatsKeys
from served import MODEL, at_server, body, by_rubric
from systems import Ran

from coigw_judge.job.job import LoadedJob

PROCESSES = 16


def judge(job: LoadedJob) -> Ran:
    """Each operator over all records."""
    records = rows(job)
    server = at_server(job)
    replies = []
    for rubric, asked in by_rubric(requests(job, records)).items():
        replies += [(rubric, text) for text in _replies(job, server.url, asked)]
    return server.ran(job, len(records), replies)


def _replies(job: LoadedJob, url: str, asked: list[Request]) -> list[str]:
    operator = LLMAnalysisFilter(
        api_or_hf_model=MODEL,
        system_prompt=asked[0].system,
        input_template="{data}",
        field_template="{field_data}",
        try_num=1,
        model_params={"base_url": f"{url}/v1", "api_key": "none"},
        sampling_params=body(job, asked[0].schema, asked[0].max_tokens),
        num_proc=PROCESSES,
    )
    samples = NestedDataset.from_list([{"text": each.user, Fields.stats: {}} for each in asked])
    kept = samples.map(operator.compute_stats, num_proc=PROCESSES)
    return [_as_replied(each[StatsKeys.llm_analysis_record]) for each in kept[Fields.stats]]


def _as_replied(record: str) -> str:
    """What it kept of a reply, without the recommendation that it adds."""
    found = json.loads(record or "null")
    return json.dumps({key: value for key, value in (found or {}).items() if key != "recommendation"})
