"""Judge, Reply, Identity, Engine: all the package knows of a judge.

An Engine is what a job's configuration makes of a kind of judge before one is started; a Judge answers requests.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from coigw_judge.judges.config import JudgeConfig
from coigw_judge.prompting.request import Ask
from coigw_judge.prompting.tokens import Encoder
from coigw_judge.replies.outcome import Cause

Missing = Literal[
    "not_whole",  # the scale has values that are no whole numbers
    "not_found",  # the number's place in the reply cannot be told: it is no strict JSON, or its tokens do not spell it
    "crosses",  # a token holds the number's first byte and what stands before it
    "cut_off",  # too much of the probability lies on tokens that are not listed
    "probe_failed",  # what follows a first digit was asked for, and no answer came
    "too_many_probes",  # a wide scale: too many beginnings are likely
    "out_of_range",  # a judge of the user's own gave a number off the scale
    "not_given",  # the judge gave none
]
"""Why there is no expected score."""


PROTOCOL = 1
"""Counts changes of this package that change what a judge is sent; it is part of every fingerprint."""


TURN_TOKENS = 64
"""What a chat template that a server keeps to itself is taken to add to a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back for one ask."""

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt, those that were not prefilled again."""
    generated_tokens: int = 0
    """With thinking."""
    shareable_tokens: int | None = None
    """Of the prompt, those that an ideal prefix cache would hold (judges/vllm/prefix_cache.py); None: not known."""
    cause: Cause | None = None
    """Why there is no score to read, where the judge knows that."""
    detail: str = ""
    """A sentence on the cause."""
    flags: tuple[str, ...] = ()
    """Flags for the fact, such as that the text was changed for the server."""
    expected: Mapping[str, float | None] = field(default_factory=dict)
    """Expected scores by dimension, where the ask wants them (judges/vllm/expected_scores.py)."""
    expected_missing: Mapping[str, Missing] = field(default_factory=dict)
    """Why one of them is None."""


@runtime_checkable
class Judge(Protocol):
    """Answers asks, many at a time. A class of your own is made with its JudgeConfig as the only argument.

    Where `ask.expected` is set its replies should carry `expected`; one that gives none fails the self-test.

    `ask` returns a Reply also where this one request failed. It raises JudgeUnavailable where the engine is gone
    (it is then replaced) and FixJudge where no request can ever succeed; anything else that it raises counts as the
    first, and so do judge.timeout seconds in which requests are out and none comes back. `concurrency` is how many
    requests are worth having in flight.
    """

    concurrency: int

    async def ask(self, ask: Ask) -> Reply:
        """Answer one request."""
        ...

    async def close(self) -> None:
        """Let go of engine, processes and connections."""
        ...


@runtime_checkable
class Measures(Protocol):
    """A judge that can say how long texts are; where it cannot, a character counts as a token."""

    context: int | None

    def tokens(self, text: str) -> int:
        """How many tokens a text takes in a request, at the most."""
        ...


@dataclass(frozen=True, slots=True)
class Yardstick:
    """How long a judge's requests may be, without starting it."""

    context: int
    """Tokens of prompt and reply."""
    frame: int
    """Of those, the tokens that the chat template adds."""
    tokens: Callable[[str], int]
    """How many tokens a text takes, at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which judge gave an answer."""

    engine: str
    """judge.engine of the job."""
    model: str
    revision: str | None
    """A hub commit, a digest of a local model's files, or what the job declares of an endpoint."""
    fingerprint: str
    """Covers model, tokenizer, template arguments, sampling and retry policy."""
    meaningless: bool = False
    """Whether its scores say nothing (the embedded judge)."""


@dataclass(frozen=True)
class Engine(ABC):
    """A kind of judge under a job's configuration: all that is asked by `judge.engine`. Only `open` starts anything."""

    config: JudgeConfig

    times_out_itself: ClassVar[bool] = False
    """Whether its judge gives a request up after `judge.timeout` seconds. Others are watched (hang_watch.py)."""
    needs_stated_context: ClassVar[bool] = False
    """Whether only the job can say how long a request may be, so that `long_text: head_tail` needs `judge.context`."""
    why_no_expected: ClassVar[str] = ""
    """Why a job may not want expected scores of it; empty where it may."""

    def check(self) -> None:
        """Refuse what the job's configuration alone shows to be wrong. Raises FixJob."""
        return

    @abstractmethod
    def identify(self) -> Identity:
        """Who would judge; reads small files at the most. Raises FixJudge, FixJob."""

    def declared(self) -> dict[str, Any]:
        """What the job says of how is asked, for the fingerprint of a judge that is known by nothing else."""
        config = self.config
        return {
            **{"protocol": PROTOCOL, "engine": config.engine, "model": config.model, "revision": config.revision},
            **{"sampling": config.sampling.model_dump(), "retries": config.retries},
            "thinking": config.thinking_tokens if config.thinking else 0,
        }

    def encoder(self) -> Encoder | None:
        """Tokenizer and template of a judge that is sent token ids; None of one that is sent text. Raises FixJudge."""
        return None

    @abstractmethod
    def yardstick(self) -> Yardstick | None:
        """What to measure requests by; None where the context is not known. Raises FixJudge."""

    @abstractmethod
    def requests_at_once(self) -> int:
        """How many requests one replica works on at a time, as far as that can be known before it is started."""

    def cache_block(self) -> int:
        """Tokens of a block of its prefix cache, for a judge that has an encoder; 0: it keeps nothing."""
        return 0

    @abstractmethod
    def gpus_per_replica(self) -> float:
        """GPUs that Ray must set aside for one replica on this machine's installation. Raises FixJob."""

    def gpus_planned(self) -> float:
        """GPUs of a replica where the job is to run, which may be elsewhere. Raises FixJob."""
        return self.gpus_per_replica()

    def processors(self, gpus: float) -> float:
        """Processors that a replica on so many GPUs can use; infinite where it binds itself to all that it gets."""
        return 1.0

    @abstractmethod
    def open(self) -> Judge:
        """Start a judge. Raises FixJudge, FixJob, JudgeUnavailable."""
