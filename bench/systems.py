"""The systems that are compared. Each runs in a process of its own and leaves its figures in a JSON file.

`raw-rubric-first` and `raw-same-prompts` are what a script with vLLM would do: one `vllm.LLM`, one call with all
requests, a record's requests adjacent. `job` is this package: scan, then fill through Ray Data. All three have the same
checkpoint, engine arguments, reply schema, sampling and token limits, and are warmed by the same three requests.

    python bench/systems.py SYSTEM JOB.yaml FIGURES.json STARTED    (throughput.py calls it; STARTED as time.time())
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coigw_judge.job.job import LoadedJob, load_job
from coigw_judge.job.recipe import reply_budget
from coigw_judge.judges.protocol import Reply
from coigw_judge.judges.read_reply import read_reply
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.prompting.template import FIELD_TITLES, Prompt
from coigw_judge.records.record import FieldName
from coigw_judge.replies.outcome import Unscored

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams

Texts = dict[FieldName, str]
WARM_UP: Texts = {
    "answer": "雨停了，巷口的修表匠把灯拧亮。",
    "query": "用一件旧物写等待。",
    "thought": "先想旧物，再想人。",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one run of one system came to. Judging begins at `first` (time.time()), when the first request is put in,
    and ends at `last`, when the last reply is out, for the job as a fact.

    `unscored` counts replies by the cause for which they gave no scores.
    """

    records: int
    requests: int
    first: float
    last: float
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    unscored: dict[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One reply, as far as it is counted."""

    prompt: int
    cached: int
    generated: int
    cause: str | None


def counted(records: int, outcomes: Sequence[Outcome], first: float, last: float) -> Ran:
    """A run of which every reply is known."""
    return Ran(
        records=records,
        requests=len(outcomes),
        first=first,
        last=last,
        prompt_tokens=sum(outcome.prompt for outcome in outcomes),
        cached_tokens=sum(outcome.cached for outcome in outcomes),
        generated_tokens=sum(outcome.generated for outcome in outcomes),
        unscored=dict(Counter(outcome.cause for outcome in outcomes if outcome.cause is not None)),
    )


def main(system: str, job_file: str, target: str, started: str) -> None:
    """Run one system on the job's workload and write its figures."""
    leave(our_job if system == "job" else partial(raw, ask=RAW[system]), system, job_file, target, started)


def leave(judge: Callable[[LoadedJob], Ran], system: str, job_file: str, target: str, started: str) -> None:
    """Have a job's workload judged and write the figures.

    `startup` is from the process's start to the first request: imports, engine, warm-up; for the job also Ray and scan.
    """
    ran = judge(load_job(Path(job_file)))
    figures = {"system": system, "startup": ran.first - float(started), **asdict(ran)}
    Path(target).write_text(json.dumps(figures), encoding="utf-8")


# Raw vLLM

Ask = Callable[["LLM", LoadedJob, Sequence[tuple[Texts, Rubric]]], "list[RequestOutput]"]


def raw(job: LoadedJob, ask: Ask) -> Ran:
    """A `vllm.LLM`, warmed up, then everything in one call; what is asked is rendered and encoded inside that call."""
    from vllm import LLM

    from coigw_judge.judges.vllm.arguments import engine_arguments, model_dir

    rows = [json.loads(line) for line in Path(job.config.input.paths[0]).read_text(encoding="utf-8").splitlines()]
    wanted = [(row, rubric) for row in rows for rubric in job.rubrics]
    engine = LLM(model=str(model_dir(job.config.judge)[0]), **engine_arguments(job.config.judge))
    ask(engine, job, [(WARM_UP, rubric) for rubric in job.rubrics])
    first = time.time()
    outputs = ask(engine, job, wanted)
    last = time.time()
    outcomes = [_outcome(output, rubric) for output, (_, rubric) in zip(outputs, wanted, strict=True)]
    return counted(len(rows), outcomes, first, last)


def _ask_rubric_first(engine: "LLM", job: LoadedJob, wanted: Sequence[tuple[Texts, Rubric]]) -> "list[RequestOutput]":
    from coigw_judge.judges.presets import template_arguments

    outputs: list[RequestOutput] = engine.chat(
        [
            [
                {"role": "system", "content": job.templates[rubric.name].system},
                {"role": "user", "content": rubric_first(job, texts, rubric)},
            ]
            for texts, rubric in wanted
        ],
        [_sampling(job, rubric) for _, rubric in wanted],
        use_tqdm=False,
        chat_template_kwargs=template_arguments(job.config.judge),
    )
    return outputs


def rubric_first(job: LoadedJob, texts: Texts, rubric: Rubric) -> str:
    """The same question in the same words, but before the fields, of which only those stand that the rubric reads."""
    question = re.sub(r"^以上", "以下", job.templates[rubric.name].task(None))
    fields = (f"【{FIELD_TITLES[field]}】\n{texts[field]}\n【{FIELD_TITLES[field]} 完】" for field in rubric.fields)
    return "\n\n".join((question, *fields))


def _ask_same_prompts(engine: "LLM", job: LoadedJob, wanted: Sequence[tuple[Texts, Rubric]]) -> "list[RequestOutput]":
    from vllm.inputs import TokensPrompt

    from coigw_judge.judges.vllm.engine import VllmEngine

    encoder = VllmEngine(job.config.judge).encoder()
    prompts: list[Prompt] = [job.templates[rubric.name].render(texts, None) for texts, rubric in wanted]
    outputs: list[RequestOutput] = engine.generate(
        [TokensPrompt(prompt_token_ids=encoder.encode(prompt)) for prompt in prompts],
        [_sampling(job, rubric) for _, rubric in wanted],
        use_tqdm=False,
    )
    return outputs


RAW: dict[str, Ask] = {"raw-rubric-first": _ask_rubric_first, "raw-same-prompts": _ask_same_prompts}


def _sampling(job: LoadedJob, rubric: Rubric) -> "SamplingParams":
    """What judges/vllm/judge.py asks with at the first try."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    from coigw_judge.judges.presets import sampling

    schema = json.dumps(rubric.reply_schema(job.config.reasons), ensure_ascii=False)
    return SamplingParams(
        max_tokens=reply_budget(rubric, job.config.reasons),
        seed=0,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(json=schema),
        **sampling(job.config.judge, 0),
    )


def _outcome(output: "RequestOutput", rubric: Rubric) -> Outcome:
    done = output.outputs[0]
    reply = Reply(text=done.text, finish_reason=done.finish_reason, generated_tokens=len(done.token_ids))
    read = read_reply(reply, rubric)
    cause = read.cause if isinstance(read, Unscored) else None
    return Outcome(len(output.prompt_token_ids or ()), output.num_cached_tokens or 0, len(done.token_ids), cause)


# Our job


def our_job(job: LoadedJob) -> Ran:
    """Scan and fill as `coigw-judge fill` does; times and counts are read from the facts that it left."""
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages
    from coigw_judge.store.parts import Store

    with cluster():
        stage = stages.begin(job, for_fill=True)
        stages.fill(stage, lambda text: None)
    columns = ("seconds", "created_at", "prompt_tokens", "cached_tokens", "generated_tokens", "cause")
    facts: list[dict[str, Any]] = Store(job.store).read(columns).to_pylist()
    first = min(fact["created_at"].timestamp() - fact["seconds"] for fact in facts)
    last = max(fact["created_at"].timestamp() for fact in facts)
    outcomes = [
        Outcome(fact["prompt_tokens"], fact["cached_tokens"], fact["generated_tokens"], fact["cause"]) for fact in facts
    ]
    return counted(stage.scan.rows_in, outcomes, first, last)


if __name__ == "__main__":
    main(*sys.argv[1:])
