"""The figures of a plan: what each rubric would ask and take, and all of it together.

Every number carries where it is from (`exact`, `sampled`, `facts`, `assumed`, `given`, `measured`); what is not known
is None and never a guess.
Not known here: how a figure comes about.
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
    """One rubric. Requests: `applies` = `known` + `spared` + `open`; `expected` of the open ones are likely made,
    and `again` of second samples, `further` of those that decide beside the first. Tokens of all expected requests
    over all their tries, None where not known."""

    name: str
    then: bool
    applies: float
    known: float
    failed: float
    spared: float
    open: float
    expected: float
    again: float
    further: float
    prompt: float | None
    cached: float | None
    generated: float | None
    too_long: float | None
    lengths_from: str
    replies_from: str
    ends: float
    reached: int
    facts: int

    @property
    def requests(self) -> float:
        """Requests that are likely made."""
        return self.expected + self.again + self.further


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """A whole plan. `counted`: `exact` (from the scan) or `sampled`. `prompt_low`, `prompt_high`: where the prompt
    tokens lie in 95 of 100 samples (None: no error, or too few places to tell). Times in seconds; `seconds` is the
    fill's, for the fewest and the most replicas; bytes by what takes them; `order` as ordering.as_json has it."""

    job: str
    model: str
    rows: float
    counted: str
    unreadable: float
    settled: float | None
    sampled: int
    places: int
    whole: bool
    long_records: int | None
    long_text: str
    early_exit: bool
    records_seen: int
    complete: int
    passes: float
    near: int
    samples: Resampling
    reasons: Reasons
    block: int | None
    rubrics: tuple[Asked, ...]
    prompt_low: float | None
    prompt_high: float | None
    replicas: tuple[int, int]
    gpus_per_replica: float
    rate_from: str
    rate: Mapping[str, Any]
    startup: float | None
    seconds: tuple[float, float] | None
    price_per_gpu_hour: float | None
    bytes: Mapping[str, float]
    fact_bytes_from: str
    rooms: tuple[Room, ...]
    notes: tuple[str, ...] = ()
    order: Mapping[str, Any] | None = None

    @property
    def requests(self) -> float:
        """Requests that are likely made."""
        return sum(each.requests for each in self.rubrics)

    @property
    def at_most(self) -> float:
        """Requests that are open at the most, second samples included; of further ones those that are likely."""
        return sum(each.open + each.again + each.further for each in self.rubrics)

    def total(self, name: str) -> float | None:
        """The sum of a token column; None where a rubric that is asked has none."""
        values = [getattr(each, name) for each in self.rubrics if each.requests]
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
            n * self.gpus_per_replica * (each + (self.startup or 0.0)) / 3600
            for n, each in zip(self.replicas, self.seconds, strict=True)
        ]
        return hours[0], hours[1]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values, with the totals."""
        totals = {"requests": self.requests, "requests_at_most": self.at_most, "prefilled": self.prefilled}
        totals |= {name: self.total(name) for name in ("prompt", "cached", "generated", "too_long")}
        rubrics = [{**asdict(each), "requests": each.requests} for each in self.rubrics]
        return {**asdict(self), "rubrics": rubrics, "totals": totals, "gpu_hours": self.gpu_hours}

    def short(self) -> PlannedFigures:
        """What a manifest keeps, to be held against what happened."""
        return PlannedFigures(
            requests=round(self.requests),
            requests_at_most=round(self.at_most),
            prompt_tokens=_whole(self.total("prompt")),
            cached_tokens=_whole(self.total("cached")),
            generated_tokens=_whole(self.total("generated")),
            seconds=None if self.seconds is None else round(self.seconds[1], 1),
            sampled=self.sampled,
            whole=self.whole,
            replies_from={each.name: each.replies_from for each in self.rubrics if each.requests},
            rate_from=self.rate_from,
        )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
