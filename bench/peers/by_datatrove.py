"""datatrove's InferenceRunner at a server: one document per request, its default of 500 in flight.

Its own way of starting vLLM calls the command `vllm`, which does not work in vLLM's build for CPU.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from asked import requests, rows
from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from served import MODEL, at_server, body
from systems import Ran

from coigw_judge.job.job import LoadedJob


def judge(job: LoadedJob) -> Ran:
    """One pipeline step over all requests."""
    records = rows(job)
    documents = []
    for each in requests(job, records):
        asked = {"messages": each.messages, **body(job, each.schema, each.max_tokens)}
        about = {"rubric": each.rubric, "asked": asked}
        # an empty text would end the document
        documents.append(Document(text="-", id=f"{each.record}-{each.rubric}", metadata=about))
    server = at_server(job)
    with TemporaryDirectory() as folder:
        runner = InferenceRunner(
            rollout_fn=_ask,
            config=InferenceConfig(server_type="endpoint", model_name_or_path=MODEL, endpoint_url=server.url),
            output_writer=JsonlWriter(folder, compression=None),
        )
        runner.run(iter(documents))
        lines = [line for file in Path(folder).glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
        written = [json.loads(line)["metadata"] for line in lines]
        return server.ran(job, len(records), [(each["rubric"], each["rollout_results"][0]) for each in written])


async def _ask(document: Document, generate: Any) -> str:
    reply = await generate(document.metadata["asked"])
    return str(reply.text)
