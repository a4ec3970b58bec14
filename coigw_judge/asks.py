"""From a job to a plan: who the judge is, and the ask fingerprints of the job's rubrics.

Fingerprints are computed when a fill begins (that reads the model's tokenizer and configuration) and kept in the
store by what the job says. So `select` and `plan` find them again without a tokenizer, a model or a GPU.
Not known here: Ray, records.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from coigw_judge.hashing import fingerprint
from coigw_judge.job import EarlyExit, LoadedJob
from coigw_judge.judges import Identity, identify
from coigw_judge.plan import Plan
from coigw_judge.rubric import Rubric
from coigw_judge.store import Store

NEVER_ASKED = "never asked"


@dataclass(frozen=True, slots=True)
class Planned:
    """A job's plan, its judge, and the (rubric, judge) fingerprints under which its facts stand."""

    plan: Plan
    identity: Identity
    pairs: tuple[tuple[str, str], ...]


def plan_for_fill(job: LoadedJob, store: Store) -> Planned:
    """Identify the judge, compute all fingerprints and keep them in the store. Raises FixJudge, FixJob."""
    identity = identify(job.config.judge)
    asks = {rubric.name: ask_fingerprint(job, rubric, identity) for rubric in job.all_rubrics}
    for rubric in job.all_rubrics:
        store.write_asks(_configuration(job, rubric), {"ask": asks[rubric.name], "identity": asdict(identity)})
    return _planned(job, asks, identity)


def plan_from_store(job: LoadedJob, store: Store) -> Planned:
    """The plan as the last fill of this configuration had it. A rubric that was never filled has no facts."""
    asks: dict[str, str] = {}
    identity = None
    for rubric in job.all_rubrics:
        kept = store.read_asks(_configuration(job, rubric))
        asks[rubric.name] = NEVER_ASKED if kept is None else kept["ask"]
        if kept is not None:
            identity = Identity(**kept["identity"])
    if identity is None:
        judge = job.config.judge
        identity = Identity(engine=judge.engine, model=judge.model, revision=judge.revision, fingerprint=NEVER_ASKED)
    return _planned(job, asks, identity)


def ask_fingerprint(job: LoadedJob, rubric: Rubric, identity: Identity) -> str:
    """All that decides an answer but the record: who is asked, what, how the reply must look."""
    return fingerprint({"judge": identity.fingerprint, **job.request_shape(rubric)})


def _planned(job: LoadedJob, asks: Mapping[str, str], identity: Identity) -> Planned:
    early = job.config.early_exit
    plan = Plan(
        rubrics=job.rubrics,
        then=job.then,
        gate=job.gate,
        fingerprints=asks,
        early_exit=bool(early),
        floor=early.floor if isinstance(early, EarlyExit) else None,
        repeat=job.config.samples.repeat,
    )
    pairs = tuple((rubric.fingerprint(), identity.fingerprint) for rubric in job.all_rubrics)
    return Planned(plan, identity, pairs)


def _configuration(job: LoadedJob, rubric: Rubric) -> str:
    """A digest of what the job says about asking a rubric, where it may matter to the answer."""
    judge: dict[str, Any] = job.config.judge.model_dump(mode="json")
    for neutral in (
        "replicas",
        "gpus_per_replica",
        "tensor_parallel",
        "timeout",
        "concurrency",
        "base_url",
        "api_key_env",
    ):
        judge.pop(neutral)
    return fingerprint({"judge": judge, **job.request_shape(rubric)})
