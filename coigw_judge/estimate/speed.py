"""How long a number of requests takes: rates that the user gives, or that earlier runs of the same judge measured.

A given rate is what one replica prefills and what it decodes, in tokens per second; the two are added up. A run
measures only their sum, so its rate is requests' tokens (prefilled and generated) per second and replica, and it holds
for jobs of about the same mix. There is no table of rates per GPU here: without either rate, time is not estimated.

    <store>/rates/<run>.json      what one fill took, by judge fingerprint
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from coigw_judge.errors import FixJob, FixStore
from coigw_judge.fill.ledger import FillTally
from coigw_judge.job.job import EstimateConfig
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.storage.paths import list_files, write_atomic
from coigw_judge.store.parts import Store

_RUNS = 50
LEAST_SECONDS = 30.0
"""A shorter fill mostly measures its own start and end; it is used where there is no longer one, and the plan warns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one fill took."""

    run: str
    judge: str
    """The judge's fingerprint."""
    device: str
    """The cluster's accelerators or processors, for people."""
    replicas: int
    gpus: float
    """Of each replica."""
    seconds: float
    """Without the judge's start."""
    startup: float
    """Seconds of the judge's start."""
    requests: int
    prefilled: int
    """Prompt tokens that were not cached."""
    generated: int
    """Tokens."""

    @property
    def tokens_per_second(self) -> float:
        """Prefilled and generated tokens per second and replica; 0 where the judge counts none."""
        return (self.prefilled + self.generated) / self.seconds / self.replicas

    @property
    def requests_per_second(self) -> float:
        """Requests per second and replica."""
        return self.requests / self.seconds / self.replicas


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates that time is estimated from: `given` by the user, else `measured`, else none."""

    given: EstimateConfig
    measured: Measured | None = None

    @property
    def source(self) -> str:
        """given, measured or unknown."""
        if self.given.prefill is not None:
            return "given"
        return "unknown" if self.measured is None else "measured"

    def seconds(self, requests: float, prefilled: float | None, generated: float | None) -> float | None:
        """Seconds that one replica takes, without its start; None without a rate, or without the tokens it needs."""
        if not requests:
            return 0.0
        counted = prefilled is not None and generated is not None
        if self.given.prefill is not None and self.given.decode is not None:
            if prefilled is None or generated is None:
                return None
            return prefilled / self.given.prefill + generated / self.given.decode
        if self.measured is None:
            return None
        if counted and self.measured.tokens_per_second:
            return ((prefilled or 0.0) + (generated or 0.0)) / self.measured.tokens_per_second
        return requests / self.measured.requests_per_second


def parse_rate(text: str) -> dict[str, float]:
    """`prefill=12000,decode=2500` as numbers. Raises FixJob."""
    wrong = f"--rate {text}: write prefill=TOKENS,decode=TOKENS, each per second and replica"
    rates: dict[str, float] = {}
    for piece in text.split(","):
        name, equals, number = piece.strip().partition("=")
        if name not in ("prefill", "decode") or not equals or name in rates:
            raise FixJob(wrong)
        try:
            rates[name] = float(number.replace("_", ""))
        except ValueError as error:
            raise FixJob(wrong) from error
    if len(rates) != 2:
        raise FixJob(wrong)
    return rates


def keep(store: Store, measured: Measured) -> None:
    """Write down what a fill took."""
    data = json.dumps(asdict(measured), ensure_ascii=False, indent=1).encode()
    write_atomic(store.filesystem, store.path("rates", f"{measured.run}.json"), data)


def recall(store: Store, judge: str, gpus: float) -> Measured | None:
    """The best measured fill of a judge on replicas of so many GPUs: the largest of the last ones."""
    fills = []
    newest = sorted(list_files(store.filesystem, store.path("rates"), ".json"), key=_moment, reverse=True)
    for path in newest[:_RUNS]:
        try:
            with store.filesystem.open_input_stream(path) as stream:
                measured = Measured(**json.loads(stream.read()))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError) as error:
            raise FixStore(f"{path}: is no measured rate ({error}); delete it, the next fill measures again") from error
        if measured.judge == judge and measured.gpus == gpus:
            fills.append(measured)
    return max(fills, key=lambda fill: fill.requests, default=None)


def _moment(path: str) -> str:
    """The date in a run's name, by which names sort."""
    return "-".join(path.rpartition("/")[2].removesuffix(".json").split("-")[-3:])


def of_fill(
    run: str, judge: str, device: str, gpus: float, config: JudgeConfig, seconds: Mapping[str, float],
    tally: FillTally,
) -> Measured | None:  # fmt: skip
    """What a finished fill took; None where that gives no rate: nothing was asked, or the pool's size varied."""
    made, tokens = tally.made, tally.tokens
    if not made or seconds.get("fill", 0.0) <= 0 or not isinstance(config.replicas, int):
        return None
    return Measured(
        run=run,
        judge=judge,
        device=device,
        replicas=config.replicas,
        gpus=gpus,
        seconds=round(seconds["fill"], 3),
        startup=round(seconds.get("startup", 0.0), 3),
        requests=made,
        prefilled=tokens.prompt - tokens.cached,
        generated=tokens.generated,
    )
