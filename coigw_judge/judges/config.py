"""A job's judge (`judge`): which model, how it is run, where it answers. Refuses keys that its engine does not take."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_SECRET_NAME = re.compile(
    r"(?i)(^|[-_])(api[-_]?key|authorization|secret|password|passwd|credentials?|bearer"
    r"|(access|auth|refresh|session)[-_]?token)s?($|[-_])|^(token|key|apikey)$"
)


_SECRET_VALUE = re.compile(r"(?i)^(bearer\s+\S+|sk-[\w-]{16,})")


_OURS = {"model": "judge.model", "messages": "the rubric's prompt", "prompt": "the rubric's prompt"}


def check_addresses(urls: Sequence[str]) -> None:
    """Raise ValueError where one is no plain address of a server, or two are the same."""
    seen: set[str] = set()
    for url in urls:
        try:
            parts = urlsplit(url)
            port, plain = parts.port, parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            port, plain = 0, False
        if not plain or port == 0 or url != "".join(url.split()):
            raise ValueError("write an address as http://host:8000/v1")
        if "@" in parts.netloc:
            raise ValueError("an address must hold no user name or password; name the key's variable in api_key_env")
        if parts.query or parts.fragment:
            raise ValueError("an address must end with its path, mostly /v1; no ? and no #")
        if url.rstrip("/") in seen:
            raise ValueError(f"{url} is named twice")
        seen.add(url.rstrip("/"))


def check_extra_body(body: Mapping[str, Any]) -> None:
    """Raise ValueError where it holds what looks like a secret, or replaces what this package puts into a request."""
    for key, instead in _OURS.items():
        if key in body:
            raise ValueError(f"{key} is set by {instead}")
    secret = _secret(body)
    if secret:
        raise ValueError(f"{secret} looks like a key; keys come from the environment alone, see api_key_env")


def _secret(value: object, name: str = "") -> str:
    """The name under which something looks like a secret, or an empty string."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if _SECRET_NAME.search(str(key)) and isinstance(inner, str):
                return str(key)
            name_within = _secret(inner, str(key))
            if name_within:
                return name_within
    elif isinstance(value, list):
        return next((key for inner in value if (key := _secret(inner, name))), "")
    elif isinstance(value, str) and _SECRET_VALUE.search(value):
        return name
    return ""


LISTED = 20
"""Likeliest tokens to list at a position: more than a scale of 0 to 10 has beginnings. vLLM's own limit."""


Number = Annotated[float, Field(allow_inf_nan=False)]


class Strict(BaseModel):
    """A part of a job file: unknown keys are refused, nothing is changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Sampling(Strict):
    """How the judge's tokens are drawn; the preset's values where left out."""

    temperature: Number | None = Field(default=None, ge=0)
    top_p: Number | None = Field(default=None, gt=0, le=1)
    top_k: int | None = None


class Rate(Strict):
    """What a server's owner allows, all replicas together."""

    requests_per_minute: Number | None = Field(default=None, gt=0)
    tokens_per_minute: Number | None = Field(default=None, gt=0, description="of prompts and replies")


_PARALLEL = {
    "tensor_parallel": "tensor_parallel_size",
    "data_parallel": "data_parallel_size",
    "expert_parallel": "enable_expert_parallel",
}
"""Our keys, and what vLLM calls them."""


EngineKind = Literal["vllm", "endpoint", "own class"]
"""How a judge is run: by vLLM in our own processes, behind an address, or by a class of the user's own."""
VLLM: Final = "vllm"
ENDPOINT: Final = "endpoint"
OWN_CLASS: Final = "own class"
_KINDS: Mapping[str, EngineKind] = {VLLM: VLLM, ENDPOINT: ENDPOINT}


class _Keys(NamedTuple):
    """Keys of `judge` that are not for every kind of engine, and what is said where they are wrong."""

    names: tuple[str, ...]
    takers: tuple[EngineKind, ...]
    refusal: str
    needed_by: tuple[EngineKind, ...] = ()


_KEYS_BY_KIND = (
    _Keys(
        ("model",),
        (VLLM, ENDPOINT, OWN_CLASS),
        "model is missing: give a hub name, a local folder, or `embedded`",
        needed_by=(VLLM, ENDPOINT),
    ),
    _Keys(("base_url",), (ENDPOINT,), "base_url belongs to `engine: endpoint`, which needs it", needed_by=(ENDPOINT,)),
    _Keys(
        ("tokenizer", "reply_format", "rate"),
        (ENDPOINT,),
        "tokenizer, reply_format and rate belong to `engine: endpoint`",
    ),
    _Keys(
        ("engine_args",), (VLLM,), "engine_args are vLLM's; an endpoint takes extra_body, a judge of your own options"
    ),
    _Keys(
        tuple(_PARALLEL),
        (VLLM, OWN_CLASS),
        "tensor_parallel, data_parallel, expert_parallel are the server's own affair; leave them out",
    ),
    _Keys(
        ("context",),
        (ENDPOINT, OWN_CLASS),
        "context is an endpoint's or your own judge's; for vLLM say engine_args.max_model_len",
    ),
)


class JudgeConfig(Strict):
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
    def engine_kind(self) -> EngineKind:
        """What kind of engine `engine` names (engines.py)."""
        return _KINDS.get(self.engine, OWN_CLASS)

    @property
    def replica_range(self) -> tuple[int, int]:
        """Engines: the least and the most."""
        return (self.replicas, self.replicas) if isinstance(self.replicas, int) else self.replicas

    @property
    def servers(self) -> tuple[str, ...]:
        """The addresses of `base_url`, without a slash at the end."""
        urls = (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()
        return tuple(url.rstrip("/") for url in urls)

    @model_validator(mode="after")
    def _fits_engine(self) -> "JudgeConfig":
        kind = self.engine_kind
        if kind == OWN_CLASS and ":" not in self.engine:
            raise ValueError(f"engine: {self.engine!r} is none of vllm, endpoint, package.module:Class")
        for keys in _KEYS_BY_KIND:
            given = any(getattr(self, name) != JudgeConfig.model_fields[name].default for name in keys.names)
            if (given and kind not in keys.takers) or (not given and kind in keys.needed_by):
                raise ValueError(keys.refusal)
        for name, argument in _PARALLEL.items():
            ours, theirs = getattr(self, name), self.engine_args.get(argument)
            if ours and theirs is not None and ours != theirs:
                raise ValueError(f"{name}: {ours} contradicts engine_args.{argument}: {theirs}; leave the second out")
        return self
