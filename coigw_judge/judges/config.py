"""A job's judge: which model, how it is run, where it answers. Pydantic at the edge, as job.py.

Not known here: what an engine or a server makes of it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
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
            found = _secret(inner, str(key))
            if found:
                return found
    elif isinstance(value, list):
        return next((found for inner in value if (found := _secret(inner, name))), "")
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
