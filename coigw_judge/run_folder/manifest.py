"""manifest.json: what came in, what was decided, what it cost. Written whole or not at all, and read again.

A manifest of another version is read too: a key that is not known here is kept as it stands, one that is missing has
its default. What a job or a gate says is only checked where it is used (`configuration`).
"""

import json
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError

from coigw_judge.counts import Counts, Named
from coigw_judge.decide.decisions import Decided
from coigw_judge.decide.further_samples import Resampling
from coigw_judge.decide.gate import ReasonKind
from coigw_judge.errors import FixStore
from coigw_judge.job.job import Job
from coigw_judge.judges.protocol import Identity
from coigw_judge.prompting.rubric import explain
from coigw_judge.storage.paths import check_reach, open_filesystem, write_atomic

MEANINGLESS = "the embedded judge is untrained: its scores are MEANINGLESS and only show that the machinery works"

GateReason = ReasonKind | Literal["total_only", "each_only"]
"""Which half of the gate a row fell short of; `<half>_only`: that half alone kept it from being kept."""


class Asks(Counts):
    """Requests. Those that the run made, and what the facts of its rows say."""

    made: int = 0
    """Asked of the judge by this run."""
    from_store: int = 0
    """Known before."""
    skipped: int = 0
    """Spared by early exit."""
    failed: int = 0
    """Without a score after all tries."""
    retried: int = 0
    """Tries beyond the first."""
    extra: int = 0
    """Of those made, further samples of what had one."""
    extra_failed: int = 0
    """Further samples without a score, which are left out."""
    exhaustive: int = 0
    """Those that early exit would have spared, of rows that are asked in full."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class Exhaustive(_Part):
    """Rows that are asked in full whatever early exit could spare (`samples.exhaustive`)."""

    share: float = 0.0
    """Of all rows, as the job wants it."""
    rows: int = 0


class Repeated(Counts):
    """Rows that were asked a second time, to know what re-asking alone changes (`samples.repeat`)."""

    rows: int = 0
    flipped: int = 0
    """Decided otherwise by the second samples alone."""


class Borderline(Counts):
    """Rows whose scores rest on several samples."""

    rows: int = 0
    """Near a threshold, and therefore asked `samples.borderline` times."""
    resampled: int = 0
    """All with several samples."""
    flipped: int = 0
    """Of those, the ones that their first samples alone would have decided otherwise."""


class Expected(Counts):
    """Expected scores of the judged rows."""

    given: int = 0
    missing: Named[str] = Field(default_factory=Counter)
    """By cause."""


class ScreenHits(Counts):
    """Rows that one screen hit. A dropped row counts once, for the first screen that drops it."""

    dropped: int = 0
    flagged: int = 0


class Genres(Counts):
    """Rows by genre."""

    categories: Named[str] = Field(default_factory=Counter)
    """Of genres that the taxonomy knows, by category."""
    unknown: Named[str] = Field(default_factory=Counter)
    """Of others, by the genre as it is written; the commonest ones."""
    unknown_beyond: int = 0
    """Of others that are not listed."""
    none: int = 0


class Tokens(Counts):
    """Tokens of the requests that the run made, over all their tries."""

    prompt: int = 0
    prompt_cached: int = 0
    """Of the prompt, from the prefix cache."""
    generated: int = 0
    extra_prompt: int = 0
    """Of all three, the part of further samples."""
    extra_cached: int = 0
    extra_generated: int = 0


class Cache(_Part):
    """What the prefix cache gave; None where it is not known."""

    hit_rate: float | None = None
    """Of the prompt tokens."""
    best_hit_rate: float | None = None
    """If it had forgotten nothing, which is what the layout allows."""
    prefilled_per_record: float | None = None
    """Tokens for each record that the fill brought to its end."""


class PlannedFigures(_Part):
    """What was planned before the fill; None where it was not known."""

    requests: int
    """Those that were likely made."""
    requests_at_most: int
    prompt_tokens: int | None
    cached_tokens: int | None
    generated_tokens: int | None
    seconds: float | None
    """Of the fill, with the most replicas."""
    sampled: int
    """Records of the plan's sample."""
    whole: bool
    """Whether that was the whole input."""
    replies_from: dict[str, str]
    """By rubric, where the lengths of its replies are from: facts, assumed, or empty."""
    rate_from: str
    """Where the rate is from: given, measured or unknown."""


class Manifest(_Part):
    """A run's manifest."""

    run: str
    """The run's name, which its folder bears."""
    job: str = ""
    job_file: str = ""
    store: str = ""
    rows_in: int = 0
    decisions: dict[Annotated[Decided, SkipValidation], int] = {}
    """Rows by decision."""
    gate_reasons: Named[Annotated[GateReason, SkipValidation]] = Field(default_factory=Counter)
    """Rows of which the judge's scores fell short of the gate."""
    asks: Asks = Asks()
    exhaustive: Exhaustive = Exhaustive()
    repeat: float | None = None
    """The share of rows that the job wants asked a second time."""
    repeated: Repeated = Repeated()
    samples: Resampling = Resampling()
    borderline: Borderline = Borderline()
    failures: Named[str] = Field(default_factory=Counter)
    """Requests without a score, by `rubric.cause`."""
    expected: Expected = Expected()
    flags: Named[str] = Field(default_factory=Counter)
    """Rows by flag."""
    screens: dict[str, ScreenHits] = {}
    genres: Genres = Genres()
    tokens: Tokens = Tokens()
    cache: Cache = Cache()
    seconds: dict[str, float] = {}
    """By stage."""
    judge: Identity
    rubrics: dict[str, str] = {}
    """Fingerprints of the rubrics' files."""
    requests: dict[str, str] = {}
    """By rubric the fingerprint of all that decides an answer but the record."""
    gate: dict[str, Any] = {}
    """As the job states it."""
    bound_gate: dict[str, Any] | None = None
    """The gate bound to the run's rubrics (run_folder/gate.py); None in older runs."""
    configuration: dict[str, Any] = {}
    """The job's, defaults filled in; see `configuration`."""
    versions: dict[str, str] = {}
    complete: bool = True
    """Whether the rows add up."""
    exit_code: int = 0
    estimate: PlannedFigures | None = None
    estimate_error: dict[str, float] = {}
    """By what share more was made than planned."""
    order: dict[str, Any] | None = None
    """The suggested order of asks (estimate/ask_order)."""

    def planned_and_made(self) -> list[tuple[str, float | None, float | None]]:
        """What was planned, under its name, beside what became of it; empty where nothing was planned."""
        planned, asks, tokens = self.estimate, self.asks, self.tokens
        if planned is None:
            return []
        return [
            ("requests", planned.requests, asks.made),
            ("prompt_tokens", planned.prompt_tokens, tokens.prompt),
            ("cached_tokens", planned.cached_tokens, tokens.prompt_cached),
            ("generated_tokens", planned.generated_tokens, tokens.generated),
            ("seconds", planned.seconds, self.seconds.get("fill")),
        ]


def as_text(manifest: Manifest) -> str:
    """A manifest as its file has it: keys that it was made without are left out."""
    return json.dumps(manifest.model_dump(mode="json", exclude_unset=True), ensure_ascii=False, indent=2)


def write(folder: str, manifest: Manifest) -> None:
    """Write manifest.json, whole or not at all."""
    filesystem, inner = open_filesystem(folder)
    write_atomic(filesystem, f"{inner}/manifest.json", as_text(manifest).encode())


def read(folder: str) -> Manifest:
    """A run's manifest. Raises FixStore where the folder is no run."""
    check_reach(folder, "RUN")
    filesystem, inner = open_filesystem(folder)
    try:
        with filesystem.open_input_stream(f"{inner}/manifest.json") as stream:
            return Manifest.model_validate_json(stream.read())
    except (FileNotFoundError, NotADirectoryError, ValidationError) as error:
        why = f": {explain(error, Manifest)}" if isinstance(error, ValidationError) else ""
        raise FixStore(
            f"{folder}: is no run folder (no readable manifest.json{why}); give the folder that a run printed"
        ) from error


def configuration(manifest: Manifest) -> Job:
    """The job that a run was made by. Raises FixStore where another version wrote what this one does not read."""
    try:
        return Job.model_validate(manifest.configuration)
    except ValidationError as error:
        raise FixStore(
            f"run {manifest.run}: manifest.json: configuration: {explain(error, Job)}; another version of "
            "coigw-judge wrote it: read it with that one, or make the run folder anew with `coigw-judge select`"
        ) from error
