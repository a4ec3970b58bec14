"""A job file: what to read, what to ask, what to keep. Pydantic at the edge; unknown keys are refused.

`load_job` also loads the job's rubrics and prompts and binds its gate to them, so that every mistake a user can
make in files is found before anything is started. Relative paths are relative to the job file.
Whether the input exists and the judge can be started shows later.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from coigw_judge.decide.ask_order import fewest_fields
from coigw_judge.decide.decisions import Decided
from coigw_judge.decide.further_samples import Middle
from coigw_judge.decide.gate import Gate
from coigw_judge.errors import FixJob, nearest
from coigw_judge.hashing import fingerprint
from coigw_judge.input.encoding import UTF_8, checked
from coigw_judge.job.gate import GateConfig, bound_gate
from coigw_judge.judges.config import LISTED, JudgeConfig, Number, Strict
from coigw_judge.judges.engines import engine_of
from coigw_judge.prompting.rubric import Reasons, Rubric, explain, load_rubric
from coigw_judge.prompting.template import Layout, Template, load_templates
from coigw_judge.records.record import OWN_FIELDS
from coigw_judge.screens.config import Screen
from coigw_judge.storage.paths import SECRET_IN_URI, carries_secret, is_uri, resolve


class Input(Strict):
    """Where the rows are."""

    paths: list[str] = Field(min_length=1, description="files, globs, folders or URIs: Parquet, JSONL, CSV")
    columns: dict[str, str] = Field(default={}, description="our field names <- the input's column names")
    encoding: str = Field(default=UTF_8, description="of JSONL and CSV without a byte order mark: gb18030, big5, ...")

    @field_validator("paths", mode="before")
    @classmethod
    def _one_path(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("paths")
    @classmethod
    def _no_secrets(cls, value: list[str]) -> list[str]:
        if any(carries_secret(path) for path in value):
            raise ValueError(f"a URI {SECRET_IN_URI}")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        return checked(value)

    @field_validator("columns")
    @classmethod
    def _known_fields(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in OWN_FIELDS:
                hint = nearest(name, OWN_FIELDS)
                raise ValueError(
                    f"{name} is none of our fields{hint}; write ours: theirs, ours being {', '.join(OWN_FIELDS)}"
                )
        return value


class EarlyExit(Strict):
    """Stop asking only where a score is below `floor`."""

    floor: Number = Field(description="a score below it ends a record, whatever its sum may still become")


MOST_SAMPLES = 100
"""Of one record."""


class Samples(Strict):
    """How often the judge is asked the same."""

    repeat: float = Field(
        default=0.0, ge=0, le=1, description="share of records asked a second time: what re-asking alone changes"
    )
    exhaustive: float = Field(
        default=0.01, ge=0, le=1, description="share of records asked in full despite early exit: rates come from it"
    )
    count: int = Field(default=1, ge=1, le=MOST_SAMPLES, description="samples of every record")
    borderline: int | None = Field(
        default=None, ge=1, le=MOST_SAMPLES, description="samples of records within the review band of a threshold"
    )
    use: Middle = Field(default="median", description="what several samples of a score come to")
    temperature: Number | None = Field(
        default=None, gt=0, description="of every sample but the first; default: the judge's own, 0.7 where that is 0"
    )

    @model_validator(mode="after")
    def _not_fewer(self) -> "Samples":
        if self.borderline is not None and self.borderline < self.count:
            raise ValueError(f"borderline: {self.borderline} is less than count: {self.count}; both are samples in all")
        return self

    @property
    def most(self) -> int:
        """Samples of one record at the most, `repeat`'s not counted."""
        return max(self.count, self.borderline or 1)


class EstimateConfig(Strict):
    """What a dry run cannot know by itself. It changes no request."""

    prefill: float | None = Field(default=None, gt=0, description="prompt tokens that a replica prefills per second")
    decode: float | None = Field(default=None, gt=0, description="tokens that a replica generates per second")
    price_per_gpu_hour: float | None = Field(default=None, ge=0, description="in a currency of yours")

    @model_validator(mode="after")
    def _both(self) -> "EstimateConfig":
        if (self.prefill is None) != (self.decode is None):
            raise ValueError("give both prefill and decode, or neither")
        return self


class Job(Strict):
    """A job file (CONTRACT, A job file)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="begins the run folder's name")
    input: Input
    rubrics: list[str] = Field(min_length=1, description="names in rubrics/, or paths; asked in this order")
    gate: GateConfig = GateConfig()
    order: Literal["listed", "fewest_fields"] = Field(
        default="listed", description="of asks: as rubrics lists them, or those first that read the fewest fields"
    )
    then: list[str] = Field(default=[], description="rubrics asked only of records that end as kept or review")
    screen: Screen = Screen()
    samples: Samples = Samples()
    judge: JudgeConfig
    reasons: Reasons = Field(default="short", description="none, short (80 characters) or full (400)")
    layout: Layout = Field(
        default="isolated",
        description="isolated: each rubric stands alone behind the record; panel: all stand in the common system text",
    )
    expected: bool = Field(default=False, description="store probability-weighted scores beside the sampled ones")
    long_text: Literal["reject", "head_tail"] = Field(
        default="reject", description="texts over the context: unscored (too_long), or their beginning and end, flagged"
    )
    early_exit: bool | EarlyExit = Field(default=True, description="stop once neither kept nor review is possible")
    max_unscored: float = Field(default=0.01, ge=0, le=1, description="share of judged rows that may end as unscored")
    write: list[Decided | Literal["all"]] = Field(default=["kept", "review"], description="decisions with own folders")
    estimate: EstimateConfig = EstimateConfig()
    store: str = Field(default="facts/", description="the folder or URI of facts, for any number of jobs")
    out: str = Field(default="runs/", description="where each run makes a folder")
    limit: int | None = Field(default=None, ge=1, description="the first N rows in listing order")

    @property
    def floor(self) -> float | None:
        """The score below which early exit stops; None where it stops as soon as nothing can pass, or never."""
        return self.early_exit.floor if isinstance(self.early_exit, EarlyExit) else None

    @field_validator("store", "out")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        if carries_secret(value):
            raise ValueError(f"the URI {SECRET_IN_URI}")
        return value

    @model_validator(mode="after")
    def _knows_the_context(self) -> "Job":
        if self.long_text == "head_tail" and self.judge.context is None and engine_of(self.judge).needs_stated_context:
            raise ValueError("long_text: head_tail needs judge.context, the tokens that the server's model takes")
        return self

    @model_validator(mode="after")
    def _can_draw_samples(self) -> "Job":
        gate, samples = self.gate, self.samples
        if gate.use == "expected" and samples.most > 1:
            raise ValueError(
                "gate.use: expected weighs all that one reply might have said, samples.count and samples.borderline "
                "ask again: a gate decides on one of them; leave the other out"
            )
        bands = [gate.total is not None and gate.review.total, gate.each is not None and gate.review.each]
        if samples.most > samples.count and not any(bands):
            raise ValueError(
                "samples.borderline needs gate.review: how near to a threshold is borderline, for instance "
                "review: {total: 2, each: 1} beside the same keys of gate"
            )
        body = self.judge.extra_body
        if samples.most > 1 and ("temperature" in body or body.get("seed") is not None):
            raise ValueError(
                "samples: judge.extra_body sets temperature or seed, which every sample must have of its own; use "
                "judge.sampling.temperature and samples.temperature"
            )
        return self

    @model_validator(mode="after")
    def _can_give_expected(self) -> "Job":
        if self.gate.use == "expected" and not self.expected:
            raise ValueError(
                "gate.use: expected needs `expected: true` at the top of the job, which stores such scores"
            )
        if not self.expected:
            return self
        refused = engine_of(self.judge).why_no_expected
        if refused:
            raise ValueError(f"expected: {refused}")
        given = self.judge.engine_args
        if given.get("logprobs_mode", "raw_logprobs") != "raw_logprobs":
            raise ValueError(
                "expected: needs the probabilities as the model has them; leave engine_args.logprobs_mode out"
            )
        listed = given.get("max_logprobs", LISTED)
        if isinstance(listed, int) and 0 <= listed < LISTED:
            raise ValueError(f"expected: needs {LISTED} probabilities a token; leave engine_args.max_logprobs out")
        return self


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job with its files read: rubrics, prompts, gate. Paths are absolute or URIs."""

    config: Job
    path: Path
    rubrics: tuple[Rubric, ...]
    """In the order in which they are asked."""
    then: tuple[Rubric, ...]
    templates: dict[str, Template]
    """By rubric."""
    gate: Gate
    """The job's gate, bound to its rubrics."""
    store: str
    out: str
    relative: tuple[str, ...] = ()
    """Which of input, store and out were given as relative paths, each with its key or option: `--store facts`."""

    @property
    def base(self) -> Path:
        """What relative paths are relative to."""
        return self.path.parent

    @property
    def all_rubrics(self) -> tuple[Rubric, ...]:
        """Rubrics and `then` rubrics, in order."""
        return (*self.rubrics, *self.then)

    def request_shape(self, rubric: Rubric) -> dict[str, Any]:
        """All of a rubric's requests that does not depend on the model or the record, for fingerprints."""
        template = self.templates[rubric.name]
        return {
            "rubric": rubric.fingerprint(),
            "template": [template.system, template.before_genre, template.after_genre, list(template.fields)],
            "schema": fingerprint(rubric.reply_schema(self.config.reasons)),
            "long_text": "reject",  # under head_tail too: what is cut says so in its own key (prompting/long_text.py)
            **({"expected": True} if self.gives_expected(rubric) else {}),
        }

    def gives_expected(self, rubric: Rubric) -> bool:
        """Whether a rubric's facts are to hold expected scores."""
        return self.config.expected and bool(rubric.dimensions)


def load_job(path: Path, overrides: Sequence[str] = (), **replaced: Any) -> LoadedJob:
    """Read a job file with its rubrics and prompts.

    `overrides` are `dotted.key=value` (values as YAML); `replaced` are keys of the file to replace, None meaning
    leave as it is. Raises FixJob or FixRubric, naming the file, the key and the fix.
    """
    raw = _read_yaml(path)
    for override in overrides:
        _override(raw, override)
    given = {
        "input": replaced.pop("input_paths", None) or [],
        **{key: [replaced[key]] for key in ("store", "out") if replaced.get(key)},
    }
    if given["input"]:
        absolute = [str(Path.cwd() / p) if "://" not in p else p for p in given["input"]]
        raw["input"] = {**(raw.get("input") or {}), "paths": absolute}
    for key in ("store", "out"):
        if replaced.get(key):
            replaced[key] = resolve(replaced[key], Path.cwd())
    raw |= {key: value for key, value in replaced.items() if value is not None}
    try:
        config = Job.model_validate(raw)
    except ValidationError as error:
        raise FixJob(f"{path}: {explain(error, Job)}") from error
    return _bind(config, path.resolve(), tuple(_relative(config, given)))


def _relative(config: Job, given: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The relative ones among the paths of `config`, and of the options that were `given`, which are absolute in it."""
    in_file = {"input.paths": config.input.paths, "store": [config.store], "out": [config.out]}
    for key, values in (*in_file.items(), *((f"--{option}", values) for option, values in given.items())):
        yield from (
            f"{key} {path}" for path in values if not is_uri(path) and not Path(path).expanduser().is_absolute()
        )


def _bind(config: Job, path: Path, relative: tuple[str, ...]) -> LoadedJob:
    rubrics = tuple(load_rubric(name, path.parent) for name in config.rubrics)
    then = tuple(load_rubric(name, path.parent) for name in config.then)
    names = [rubric.name for rubric in (*rubrics, *then)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FixJob(f"{path}: rubrics, then: {twice[0]} is named twice")
    gate = bound_gate(config.gate, rubrics, path, config.samples.most > 1)
    if config.order == "fewest_fields":
        rubrics = fewest_fields(rubrics, gate, config.floor)
    return LoadedJob(
        config=config,
        path=path,
        rubrics=rubrics,
        then=then,
        templates=load_templates((*rubrics, *then), config.reasons, config.layout),
        gate=gate,
        store=resolve(config.store, path.parent),
        out=resolve(config.out, path.parent),
        relative=relative,
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FixJob(f"{path}: no such job file; give the path of a YAML file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FixJob(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise FixJob(f"{path}: a job is a mapping with the keys name, input, rubrics, gate, judge, ...")
    return raw


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise FixJob(f"--set {override}: write dotted.key=value")
    *parents, last = key.split(".")
    target = raw
    for parent in parents:
        below = target.get(parent)
        target[parent] = dict(below) if isinstance(below, dict) else {}
        target = target[parent]
    try:
        target[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FixJob(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from error
