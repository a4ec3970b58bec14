"""What every peer is asked: the requests of a job's rubrics about its records, as messages, rubric first.

The question is ours, word for word, but stands before the fields, of which a request holds only those that its rubric
reads: the careful way of writing a script (systems.rubric_first). Schemas, token limits and sampling are the job's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systems import Texts, rubric_first

from coigw_judge.job.job import LoadedJob
from coigw_judge.job.recipe import reply_budget
from coigw_judge.judges.presets import sampling
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.replies.outcome import Unscored
from coigw_judge.replies.parse import parse_reply


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a client of a chat API would send it. `record` is its row's number."""

    record: int
    rubric: str
    system: str
    user: str
    schema: str
    max_tokens: int

    @property
    def messages(self) -> list[dict[str, str]]:
        """The two turns."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


def rows(job: LoadedJob) -> list[dict[str, str]]:
    """The job's input, which is one JSONL file here."""
    return [json.loads(line) for line in Path(job.config.input.paths[0]).read_text(encoding="utf-8").splitlines()]


def requests(job: LoadedJob, records: Sequence[Mapping[str, str]]) -> list[Request]:
    """All requests, a record's adjacent. No peer stops early, so every rubric is asked of every record."""
    found = []
    for number, record in enumerate(records):
        texts: Texts = {field: record[field] for field in ("answer", "query", "thought") if field in record}
        for rubric in job.rubrics:
            found.append(
                Request(
                    record=number,
                    rubric=rubric.name,
                    system=job.templates[rubric.name].system,
                    user=rubric_first(job, texts, rubric),
                    schema=json.dumps(rubric.reply_schema(job.config.reasons), ensure_ascii=False),
                    max_tokens=reply_budget(rubric, job.config.reasons),
                )
            )
    return found


def sampled(job: LoadedJob) -> dict[str, Any]:
    """The job's sampling at the first try."""
    return {"seed": 0, **sampling(job.config.judge, 0)}


def cause(job: LoadedJob, rubric: str, text: str) -> str | None:
    """Why a reply gives no scores, if so: no peer checks a reply, and none passes on why it ended."""
    known: dict[str, Rubric] = {each.name: each for each in job.rubrics}
    read = parse_reply(text, known[rubric])
    return read.cause if isinstance(read, Unscored) else None
