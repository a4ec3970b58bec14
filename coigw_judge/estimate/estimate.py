"""The figures of a plan: what each rubric would ask and take, and all of it together.

Every number says where it is from (`exact`, `sampled`, `facts`, `assumed`, `given`, `measured`); what is not known
is None and never a guess.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from coigw_judge.decide.further_samples import Resampling
from coigw_judge.estimate.disk import Room
from coigw_judge.prompting.rubric import Reasons
from coigw_judge.run_folder.manifest import PlannedFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One rubric: its requests, and the tokens of those that are likely made, over all their tries."""

    name: str
    then: bool
    """Whether it is one of `then`."""
    applies: float
    """Requests in all: `known` + `spared` + `open`."""
    known: float
    """In the store."""
    failed: float
    """Of those, without a score."""
    spared: float
    """Not needed any more."""
    open: float
    """Still to ask, at the most."""
    expected: float
    """Of the open ones, those that are likely made."""
    again: float
    """Second samples (samples.repeat) that are likely made."""
    further: float
    """Further samples, which decide beside the first ones, that are likely made."""
    prompt: float | None
    """Tokens; None where not known, as in the next two."""
    cached: float | None
    """Of the prompt."""
    generated: float | None
    too_long: float | None
    """Requests over the context; None where not known."""
    lengths_from: str
    """sampled, facts, or empty."""
    replies_from: str
    """facts, assumed, or empty."""
    ends: float
    """The share of records that it ends, of those that reach it."""
    reached: int
    """How many records that share is of."""
    facts: int
    """How many facts the lengths of replies are of."""

    @property
    def requests(self) -> float:
        """Requests that are likely made."""
        return self.expected + self.again + self.further


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """A whole plan. Its names are the keys of `plan --json`."""

    job: str
    model: str
    rows: float
    counted: str
    """How rows and requests were counted: `exact` (by a scan) or `sampled`."""
    unreadable: float
    settled: float | None
    """Rows that need no judge; None without a scan."""
    sampled: int
    """Records of the sample."""
    places: int
    """How many places they were read at."""
    whole: bool
    """Whether the sample is the whole input."""
    long_records: int | None
    """Sampled records over the context; None where not known."""
    long_text: str
    early_exit: bool
    records_seen: int
    """Records with facts that shares are taken from (FactHistory, as the next three)."""
    complete: int
    passes: float
    near: int
    samples: Resampling
    reasons: Reasons
    block: int | None
    """Tokens of a block of the KV cache; None without a tokenizer."""
    rubrics: tuple[Asked, ...]
    prompt_low: float | None
    """Lower bound of the 95 % interval of prompt tokens; None: no sampling error, or too few places to tell."""
    prompt_high: float | None
    """Upper bound."""
    replicas: tuple[int, int]
    """The fewest and the most."""
    gpus_per_replica: float
    rate_from: str
    """given, measured or unknown."""
    rate: Mapping[str, Any]
    startup: float | None
    """Seconds of the judge's start, as measured."""
    seconds: tuple[float, float] | None
    """Of the fill, with the fewest and the most replicas."""
    price_per_gpu_hour: float | None
    bytes: Mapping[str, float]
    """By use: facts, scan, work, verdicts, folders."""
    fact_bytes_from: str
    """facts or assumed."""
    rooms: tuple[Room, ...]
    """The local disks of store and output."""
    notes: tuple[str, ...] = ()
    order: Mapping[str, Any] | None = None
    """The order of asks (suggestion.as_json)."""

    @property
    def requests(self) -> float:
        """Requests that are likely made."""
        return sum(rubric.requests for rubric in self.rubrics)

    @property
    def at_most(self) -> float:
        """The most requests that may be made, second samples included; of further samples the likely number."""
        return sum(rubric.open + rubric.again + rubric.further for rubric in self.rubrics)

    def total(self, name: str) -> float | None:
        """The sum of a token column; None where a rubric that is asked has none."""
        values = [getattr(rubric, name) for rubric in self.rubrics if rubric.requests]
        return None if any(value is None for value in values) else float(sum(values))

    @property
    def prefilled(self) -> float | None:
        """Prompt tokens that are in no cache."""
        prompt, cached = self.total("prompt"), self.total("cached")
        return None if prompt is None or cached is None else prompt - cached

    @property
    def gpu_hours(self) -> tuple[float, float] | None:
        """GPU hours with the fewest and the most replicas, their start included where it is known."""
        if self.seconds is None or not self.gpus_per_replica:
            return None
        hours = [
            n * self.gpus_per_replica * (seconds + (self.startup or 0.0)) / 3600
            for n, seconds in zip(self.replicas, self.seconds, strict=True)
        ]
        return hours[0], hours[1]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values, with the totals."""
        totals = {"requests": self.requests, "requests_at_most": self.at_most, "prefilled": self.prefilled}
        totals |= {name: self.total(name) for name in ("prompt", "cached", "generated", "too_long")}
        rubrics = [{**asdict(rubric), "requests": rubric.requests} for rubric in self.rubrics]
        return {**asdict(self), "rubrics": rubrics, "totals": totals, "gpu_hours": self.gpu_hours}

    def short(self) -> PlannedFigures:
        """What a manifest keeps, to compare with what happened."""
        return PlannedFigures(
            requests=round(self.requests),
            requests_at_most=round(self.at_most),
            prompt_tokens=_whole(self.total("prompt")),
            cached_tokens=_whole(self.total("cached")),
            generated_tokens=_whole(self.total("generated")),
            seconds=None if self.seconds is None else round(self.seconds[1], 1),
            sampled=self.sampled,
            whole=self.whole,
            replies_from={rubric.name: rubric.replies_from for rubric in self.rubrics if rubric.requests},
            rate_from=self.rate_from,
        )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
