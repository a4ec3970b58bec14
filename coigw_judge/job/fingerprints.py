"""From a job to a plan: who the judge is, and the ask fingerprints of the job's rubrics.

Fingerprints are computed when a fill begins (that reads the model's tokenizer and configuration) and kept in the
store by what the job says. So `select` and `plan` find them again without a tokenizer, a model or a GPU.
The room that long texts have (`long_text: head_tail`) is found and kept in the same way.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from coigw_judge.decide.further_samples import DRAWN_AT, Resampling
from coigw_judge.decide.plan import Plan
from coigw_judge.errors import FixJob
from coigw_judge.hashing import fingerprint
from coigw_judge.job.job import LoadedJob
from coigw_judge.job.recipe import reply_budget
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.presets import sampling
from coigw_judge.judges.protocol import Identity, Yardstick
from coigw_judge.prompting.long_text import LEAST_ROOM, HeadTail
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.records.record import FIELDS
from coigw_judge.store.parts import Store

NEVER_ASKED = "never asked"
_STEPS = 32
"""The room is rounded down to a thirty-second of the context: a word more in a rubric hardly ever moves a cut."""


_LATER = {"tokenizer": None, "reply_format": "json_schema"}
"""Keys that came later, and the values under which a configuration is the one that older stores know."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A job's plan and its judge."""

    plan: Plan
    identity: Identity
    pairs: tuple[tuple[str, str], ...]
    """(rubric, judge) fingerprints under which the job's facts stand."""


def plan_for_fill(job: LoadedJob, store: Store) -> Planned:
    """Identify the judge, compute all fingerprints and keep them in the store. Raises FixJudge, FixJob."""
    engine = engine_of(job.config.judge)
    identity = engine.identify()
    policy = head_tail(job, engine.yardstick()) if job.config.long_text == "head_tail" else None
    asks = {rubric.name: ask_fingerprint(job, rubric, identity) for rubric in job.all_rubrics}
    for rubric in job.all_rubrics:
        kept = {"ask": asks[rubric.name], "identity": asdict(identity)}
        kept |= {} if policy is None else {"head_tail": asdict(policy)}
        store.write_asks(configuration_digest(job, rubric), kept)
    return _planned(job, asks, identity, policy)


def plan_from_store(job: LoadedJob, store: Store) -> Planned:
    """The plan as the last fill of this configuration had it. A rubric that was never filled has no facts."""
    asks: dict[str, str] = {}
    identity: Identity | None = None
    policy: HeadTail | None = None
    for rubric in job.all_rubrics:
        kept = store.read_asks(configuration_digest(job, rubric))
        asks[rubric.name] = NEVER_ASKED if kept is None else kept["ask"]
        if kept is not None:
            identity = Identity(**kept["identity"])
            policy = _policy(kept.get("head_tail"))
    if identity is None:
        judge = job.config.judge
        identity = Identity(engine=judge.engine, model=judge.model, revision=judge.revision, fingerprint=NEVER_ASKED)
    return _planned(job, asks, identity, policy)


def ask_fingerprint(job: LoadedJob, rubric: Rubric, identity: Identity) -> str:
    """All that decides an answer but the record: who is asked, what, how the reply must look."""
    return fingerprint({"judge": identity.fingerprint, **job.request_shape(rubric)})


def head_tail(job: LoadedJob, yardstick: Yardstick | None) -> HeadTail | None:
    """How the job's long texts are shown: what its longest request leaves them. None where the context is not known.

    Raises FixJob where that is nothing.
    """
    if yardstick is None:
        return None
    reserved, name = max((reserve(job, rubric, yardstick), rubric.name) for rubric in job.all_rubrics)
    step = max(1, yardstick.context // _STEPS)
    room = yardstick.context - -(-reserved // step) * step
    read = {field for rubric in job.all_rubrics for field in rubric.fields}
    if room < LEAST_ROOM * len(read):
        raise FixJob(
            f"{job.path}: long_text: head_tail: rubric {name} and its reply take up to {reserved} of the context's "
            f"{yardstick.context} tokens, which leaves too little for a text; raise the context or shorten the reply"
        )
    return HeadTail(tuple(field for field in FIELDS if field in read), room, yardstick.context)


def reserve(job: LoadedJob, rubric: Rubric, yardstick: Yardstick) -> int:
    """Tokens that a rubric's requests need at the most beside the record's fields, the reply included."""
    template, judge = job.templates[rubric.name], job.config.judge
    tasks = [template.task(guidance) for guidance in (None, *rubric.by_genre.values())]
    reply = reply_budget(rubric, job.config.reasons) + (judge.thinking_tokens if judge.thinking else 0)
    return yardstick.frame + yardstick.tokens(template.system) + max(map(yardstick.tokens, tasks)) + reply


def _policy(kept: Mapping[str, Any] | None) -> HeadTail | None:
    return None if kept is None else HeadTail(tuple(kept["fields"]), kept["room"], kept["context"])


def _planned(job: LoadedJob, asks: Mapping[str, str], identity: Identity, policy: HeadTail | None) -> Planned:
    plan = Plan(
        rubrics=job.rubrics,
        then=job.then,
        gate=job.gate,
        fingerprints=asks,
        early_exit=bool(job.config.early_exit),
        floor=job.config.floor,
        repeat=job.config.samples.repeat,
        exhaustive=job.config.samples.exhaustive,
        head_tail=policy,
        samples=resampling(job),
    )
    pairs = tuple((rubric.fingerprint(), identity.fingerprint) for rubric in job.all_rubrics)
    return Planned(plan, identity, pairs)


def resampling(job: LoadedJob) -> Resampling:
    """Who is asked more than once, and at which temperature: the job's, else the judge's own where it is not 0."""
    samples = job.config.samples
    own = sampling(job.config.judge, 0)["temperature"]
    return Resampling(
        count=samples.count,
        borderline=samples.borderline or samples.count,
        use=samples.use,
        temperature=samples.temperature or own or DRAWN_AT,
        dropped=not job.config.early_exit,
    )


def configuration_digest(job: LoadedJob, rubric: Rubric) -> str:
    """A digest of what the job says about asking a rubric, where it may matter to the answer."""
    judge: dict[str, Any] = job.config.judge.model_dump(mode="json")
    for neutral in (
        "replicas",
        "gpus_per_replica",
        "tensor_parallel",
        "data_parallel",
        "expert_parallel",
        "wait",
        "timeout",
        "concurrency",
        "base_url",
        "api_key_env",
        "context",
        "connect_timeout",
        "patience",
        "rate",
    ):
        judge.pop(neutral)
    for key, default in _LATER.items():
        if judge[key] == default:
            judge.pop(key)
    shape = job.request_shape(rubric)
    if job.config.long_text == "head_tail":  # all rubrics have their part in what room there is
        others = [[job.request_shape(other), other.by_genre] for other in job.all_rubrics]
        shape |= {"context": job.config.judge.context, "beside": sorted(fingerprint(other) for other in others)}
    return fingerprint({"judge": judge, **shape})
