"""A job file: what to read, what to ask, what to keep. Pydantic at the edge; unknown keys are refused.

`load_job` also loads the job's rubrics and prompts and binds its gate to them, so that every mistake a user can
make in files is found before anything is started. Relative paths are relative to the job file.
Not known here: whether the input exists, whether the judge can be started.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coigw_judge.addresses import check_addresses, check_extra_body
from coigw_judge.encoding import UTF_8, checked
from coigw_judge.errors import FixJob, nearest
from coigw_judge.gate import Gate
from coigw_judge.hashing import fingerprint
from coigw_judge.paths import SECRET_IN_URI, carries_secret, is_uri, resolve
from coigw_judge.prompt import Template, load_template
from coigw_judge.record import OWN_FIELDS
from coigw_judge.rubric import Reasons, Rubric, explain, load_rubric
from coigw_judge.screens.config import Screen

Decided = Literal["kept", "dropped", "review", "pending", "unscored", "screened", "duplicate", "unreadable"]
DECISIONS: tuple[Decided, ...] = (
    "kept", "review", "dropped", "unscored", "pending", "screened", "duplicate", "unreadable",
)  # fmt: skip
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Input(_Strict):
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


class Review(_Strict):
    """How far below the gate a record still goes to people."""

    total: Number = Field(default=0, ge=0)
    each: Number = Field(default=0, ge=0)


class GateConfig(_Strict):
    """Thresholds and checks."""

    over: list[str] | None = Field(default=None, description="rubrics or rubric.dimension; default: all dimensions")
    total: Number | None = Field(default=None, description="the least sum over these dimensions")
    each: Number | dict[str, Number] | None = Field(default=None, description="the least of each, or per dimension")
    require: list[str] = Field(default=[], description="checks that must be true: a rubric's all, or rubric.check")
    review: Review = Review()


class EarlyExit(_Strict):
    """Stop asking only where a score is below `floor`."""

    floor: Number


class Sampling(_Strict):
    """How the judge's tokens are drawn; the preset's values where left out."""

    temperature: Number | None = Field(default=None, ge=0)
    top_p: Number | None = Field(default=None, gt=0, le=1)
    top_k: int | None = None


class Rate(_Strict):
    """What a server's owner allows, all replicas together."""

    requests_per_minute: Number | None = Field(default=None, gt=0)
    tokens_per_minute: Number | None = Field(default=None, gt=0, description="of prompts and replies")


_PARALLEL = {
    "tensor_parallel": "tensor_parallel_size",
    "data_parallel": "data_parallel_size",
    "expert_parallel": "enable_expert_parallel",
}
"""Our keys, and what vLLM calls them."""


class JudgeConfig(_Strict):
    """Which model judges, and how it is run."""

    engine: str = Field(default="vllm", description="vllm, endpoint, or package.module:Class of your own")
    model: str = Field(default="", description="hub name, local folder, or `embedded`")
    revision: str | None = Field(
        default=None, description="hub commit or tag; for an endpoint what you declare it to be"
    )
    preset: str | None = Field(default=None, description="model preset; default: by the model's name")
    thinking: bool = Field(default=False, description="let the model think before it answers")
    thinking_tokens: int = Field(default=8192, gt=0, description="token budget of the thinking, where it is on")
    tensor_parallel: int | None = Field(
        default=None, ge=1, description="GPUs a layer is cut over; default: the preset's"
    )
    data_parallel: int | None = Field(
        default=None, ge=1, description="copies of a replica's attention, each on GPUs of its own"
    )
    expert_parallel: bool = Field(default=False, description="deal a replica's experts out whole, instead of cut")
    replicas: int | tuple[int, int] = Field(default=1, description="engines: a number, or [least, most]")
    gpus_per_replica: float | None = Field(
        default=None, ge=0, description="default: tensor times data parallel, 0 on CPU"
    )
    wait: float = Field(default=0, ge=0, description="seconds that a growing cluster may take to have room; 0: none")
    sampling: Sampling = Sampling()
    retries: int = Field(default=2, ge=0, le=10, description="further tries where a reply gave no scores")
    timeout: float = Field(
        default=900,
        gt=0,
        description="seconds without a reply after which an engine counts as dead; endpoint: a request",
    )
    engine_args: dict[str, Any] = Field(default={}, description="passed on to vLLM by name")
    base_url: str | tuple[str, ...] | None = Field(
        default=None, description="endpoint: the server, up to and with /v1; or a list of servers of the same model"
    )
    api_key_env: str | None = Field(default=None, description="endpoint: the environment variable that holds the key")
    extra_body: dict[str, Any] = Field(
        default={}, description="endpoint: further keys of each request's body; null leaves one of ours out"
    )
    tokenizer: str | None = Field(
        default=None, description="endpoint: the model's tokenizer (hub name, local folder): vLLM servers get token ids"
    )
    reply_format: Literal["json_schema", "json_object", "none"] = Field(
        default="json_schema", description="endpoint: how a reply's form is enforced, as far as the server can"
    )
    rate: Rate = Field(default=Rate(), description="endpoint: requests and tokens a minute that are allowed")
    connect_timeout: float = Field(default=10, gt=0, description="endpoint: seconds that connecting may take")
    patience: float = Field(
        default=1800, gt=0, description="endpoint: seconds in which no server answers anything, after which a job ends"
    )
    concurrency: int | None = Field(
        default=None,
        ge=1,
        description="requests in flight per replica, of an endpoint per server too; default: by engine",
    )
    context: int | None = Field(
        default=None, ge=1, description="endpoint, own judge: tokens it takes; long_text: head_tail needs it"
    )
    options: dict[str, Any] = Field(default={}, description="handed to a judge class of your own")

    @field_validator("replicas")
    @classmethod
    def _positive(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        least, most = (value, value) if isinstance(value, int) else value
        if not 1 <= least <= most:
            raise ValueError("give a number of at least 1, or [least, most]")
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_addresses(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        check_addresses((value,) if isinstance(value, str) else () if value is None else value)
        return value

    @field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError("give the name of an environment variable (A-Z, 0-9, _), never the key itself")
        return value

    @field_validator("extra_body")
    @classmethod
    def _holds_no_key(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_extra_body(value)
        return value

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses of `base_url`, without a slash at the end."""
        urls = (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()
        return tuple(url.rstrip("/") for url in urls)

    @model_validator(mode="after")
    def _fits_engine(self) -> "JudgeConfig":
        if self.engine not in ("vllm", "endpoint") and ":" not in self.engine:
            raise ValueError(f"engine: {self.engine!r} is none of vllm, endpoint, package.module:Class")
        if self.engine in ("vllm", "endpoint") and not self.model:
            raise ValueError("model is missing: give a hub name, a local folder, or `embedded`")
        if (self.engine == "endpoint") != (self.base_url is not None):
            raise ValueError("base_url belongs to `engine: endpoint`, which needs it")
        if self.engine != "endpoint" and (self.tokenizer or self.reply_format != "json_schema" or self.rate != Rate()):
            raise ValueError("tokenizer, reply_format and rate belong to `engine: endpoint`")
        if self.engine != "vllm" and self.engine_args:
            raise ValueError("engine_args are vLLM's; an endpoint takes extra_body, a judge of your own options")
        if self.engine == "endpoint" and (self.tensor_parallel or self.data_parallel or self.expert_parallel):
            raise ValueError(
                "tensor_parallel, data_parallel, expert_parallel are the server's own affair; leave them out"
            )
        for name, argument in _PARALLEL.items():
            ours, theirs = getattr(self, name), self.engine_args.get(argument)
            if ours and theirs is not None and ours != theirs:
                raise ValueError(f"{name}: {ours} contradicts engine_args.{argument}: {theirs}; leave the second out")
        if self.engine == "vllm" and self.context is not None:
            raise ValueError("context is an endpoint's or your own judge's; for vLLM say engine_args.max_model_len")
        return self


class Samples(_Strict):
    """How often the judge is asked the same."""

    repeat: float = Field(
        default=0.0, ge=0, le=1, description="share of records asked a second time: what re-asking alone changes"
    )


class EstimateConfig(_Strict):
    """What a dry run can not know by itself. It changes no request."""

    prefill: float | None = Field(default=None, gt=0, description="prompt tokens that a replica prefills per second")
    decode: float | None = Field(default=None, gt=0, description="tokens that a replica generates per second")
    price_per_gpu_hour: float | None = Field(default=None, ge=0, description="in a currency of yours")

    @model_validator(mode="after")
    def _both(self) -> "EstimateConfig":
        if (self.prefill is None) != (self.decode is None):
            raise ValueError("give both prefill and decode, or neither")
        return self


class Job(_Strict):
    """A job file (CONTRACT, A job file)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="begins the run folder's name")
    input: Input
    rubrics: list[str] = Field(min_length=1, description="names in rubrics/, or paths; asked in this order")
    gate: GateConfig = GateConfig()
    then: list[str] = Field(default=[], description="rubrics asked only of records that end as kept or review")
    screen: Screen = Screen()
    samples: Samples = Samples()
    judge: JudgeConfig
    reasons: Reasons = Field(default="short", description="none, short (80 characters) or full (400)")
    long_text: Literal["reject", "head_tail"] = Field(
        default="reject", description="texts over the context: unscored (too_long), or their beginning and end, flagged"
    )
    early_exit: bool | EarlyExit = Field(default=True, description="stop once neither kept nor review is possible")
    max_unscored: float = Field(default=0.01, ge=0, le=1, description="share of judged rows that may end as unscored")
    write: list[Decided | Literal["all"]] = Field(default=["kept", "review"], description="decisions with own folders")
    estimate: EstimateConfig = EstimateConfig()
    store: str = "facts/"
    out: str = "runs/"
    limit: int | None = Field(default=None, ge=1, description="the first N rows in listing order")

    @field_validator("store", "out")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        if carries_secret(value):
            raise ValueError(f"the URI {SECRET_IN_URI}")
        return value

    @model_validator(mode="after")
    def _knows_the_context(self) -> "Job":
        if self.long_text == "head_tail" and self.judge.engine == "endpoint" and self.judge.context is None:
            raise ValueError("long_text: head_tail needs judge.context, the tokens that the server's model takes")
        return self


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job with its files read: rubrics, prompts, gate. Paths are absolute or URIs."""

    config: Job
    path: Path
    rubrics: tuple[Rubric, ...]
    then: tuple[Rubric, ...]
    templates: dict[str, Template]
    gate: Gate
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
            "long_text": "reject",  # under head_tail too: what is cut says so in its own key (headtail.py)
        }


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
    templates = {rubric.name: load_template(rubric, config.reasons) for rubric in (*rubrics, *then)}
    return LoadedJob(
        config=config,
        path=path,
        rubrics=rubrics,
        then=then,
        templates=templates,
        gate=_bind_gate(config.gate, rubrics, path),
        store=resolve(config.store, path.parent),
        out=resolve(config.out, path.parent),
        relative=relative,
    )


def _bind_gate(gate: GateConfig, rubrics: tuple[Rubric, ...], path: Path) -> Gate:
    """Spell out the rubrics that `over` and `require` name, and make sure that the gate can be passed."""
    dimensions = {f"{r.name}.{d.key}": r.scale.max for r in rubrics for d in r.dimensions}
    checks = [f"{r.name}.{c.key}" for r in rubrics for c in r.checks]
    over = list(dimensions) if gate.over is None else _spell_out(gate.over, list(dimensions), "gate.over", path)
    require = _spell_out(gate.require, checks, "gate.require", path)
    tops = {name: dimensions[name] for name in over}
    if not over and (gate.total is not None or (gate.each is not None and not require)):
        raise FixJob(f"{path}: gate: total and each need dimensions, and the job's rubrics have none; use require")
    each = gate.each
    if isinstance(each, dict):  # what names a dimension goes before what names its whole rubric
        spelt = {name: _spell_out([name], over, "gate.each", path) for name in each}
        each = {one: each.get(one, each[name]) for name, ones in spelt.items() for one in ones}
    bound = Gate(
        total=gate.total,
        each=each,
        over=tuple(over),
        require=tuple(require),
        review_total=gate.review.total,
        review_each=gate.review.each,
        tops=tops,
    )
    best = bound.decide(dict(tops), dict.fromkeys(require, True))
    if best.decision != "kept":
        raise FixJob(f"{path}: gate: no record can pass it: with the highest scores, {best.reasons[0].text}; lower it")
    return bound


def _spell_out(names: list[str], known: list[str], key: str, path: Path) -> list[str]:
    found: list[str] = []
    for name in names:
        matches = [k for k in known if k == name or k.startswith(f"{name}.")]
        if not matches:
            rubrics = {k.partition(".")[0] for k in known}
            hint, all_known = nearest(name, [*known, *rubrics]), ", ".join(known) or "none"
            raise FixJob(f"{path}: {key}: {name} is not asked by this job{hint}; known: {all_known}")
        found += [match for match in matches if match not in found]
    return found


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FixJob(f"{path}: no such job file; give the path of a YAML file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FixJob(f"{path}: can not be read as YAML: {' '.join(str(error).split())}") from error
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
