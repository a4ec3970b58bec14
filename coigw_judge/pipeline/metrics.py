"""A run's metrics, as Ray exports them to Prometheus. docs/metrics.md says what each means and how to ask for it.

The driver publishes for all: once a second it has the board's look at every judge process, and what has grown since
the last one is added. So a process that dies takes no count with it, the counts are those of the manifest, and a
request costs no message of its own. Counts reach Prometheus through the driver's node; `node` is the judge's.
A local cluster exports nothing (cluster.py), and there nothing is recorded.
The counts are made in fill/ledger.py.
"""

import os
from collections import Counter as Counts
from collections.abc import Iterable, Mapping

from ray.util.metrics import Counter, Gauge, Histogram

from coigw_judge.decide.decisions import Decided
from coigw_judge.fill.ledger import FLUSH_SECONDS, REQUEST_SECONDS, SCORED
from coigw_judge.pipeline.coordinator import Look, Report

PREFIX = "coigw_judge_"
_RUN = ("run", "job_name")
_REPLICA = ("replica", "node")

COUNTERS: dict[str, tuple[tuple[str, ...], str]] = {
    "requests": (("rubric", "outcome"), "requests settled, by outcome: scored or unscored"),
    "unscored": (("rubric", "cause"), "requests settled without a score, by cause"),
    "retries": (("rubric",), "requests asked again because the reply held no score"),
    "requests_from_store": (_REPLICA, "requests that the store answered"),
    "records_judged": (_REPLICA, "records to which nothing is left to ask"),
    "prompt_tokens": (_REPLICA, "prompt tokens of all requests, cached ones included"),
    "cached_tokens": (_REPLICA, "prompt tokens that came from the prefix cache"),
    "generated_tokens": (_REPLICA, "tokens generated, thinking included"),
    "facts_written": (_REPLICA, "facts on disk"),
    "flush_failures": (_REPLICA, "flushes that the store refused"),
    "server_events": ((*_REPLICA, "event"), "what a judge counts of its own, such as answers 429 of an endpoint"),
    "engine_starts": ((), "judge processes started"),
    "engine_deaths": ((), "judge processes that died"),
    "rows_decided": (("decision",), "rows decided by select"),
}
"""Tags beside run and job_name, and what is counted. Prometheus sees `ray_coigw_judge_<name>_total`."""

GAUGES: dict[str, tuple[tuple[str, ...], str]] = {
    "requests_in_flight": (_REPLICA, "requests that the engine has now"),
    "requests_capacity": (_REPLICA, "requests that are worth having in flight"),
    "requests_waiting": (_REPLICA, "requests ready to be sent that wait for a place in flight"),
    "records": (_REPLICA, "records being judged"),
    "blocks": (_REPLICA, "blocks being judged"),
    "blocks_flushing": (_REPLICA, "blocks that are judged and wait for the next flush"),
    "rows_open": ((), "rows of this fill that are not judged yet"),
    "replicas": ((), "judge processes alive"),
}
"""Likewise; Prometheus sees `ray_coigw_judge_<name>`."""

HISTOGRAMS: dict[str, tuple[tuple[str, ...], tuple[float, ...], str]] = {
    "request_seconds": (("rubric",), REQUEST_SECONDS, "time of a request, waiting and retries included"),
    "flush_seconds": (_REPLICA, FLUSH_SECONDS, "time of a flush that wrote facts"),
}
"""Likewise, with the upper bounds of their buckets; Prometheus sees `ray_coigw_judge_<name>_bucket`."""

_PLAIN = {
    "rows": "records_judged",
    "facts": "facts_written",
    "asks.from_store": "requests_from_store",
    "tokens.prompt": "prompt_tokens",
    "tokens.cached": "cached_tokens",
    "tokens.generated": "generated_tokens",
    "flush.failed": "flush_failures",
}
"""Counts of a ledger that are a counter of a replica."""

Tags = dict[str, str]


class Meter:
    """The metrics of one run, fed by the driver."""

    def __init__(self, run: str, job: str) -> None:
        self._on = os.environ.get("RAY_enable_metrics_collection") != "0"  # noqa: SIM112  Ray's own name
        common = {"run": run, "job_name": job}
        self._counters = {name: Counter(PREFIX + name, text, (*_RUN, *tags)) for name, (tags, text) in COUNTERS.items()}
        self._gauges = {name: Gauge(PREFIX + name, text, (*_RUN, *tags)) for name, (tags, text) in GAUGES.items()}
        self._histograms = {
            name: Histogram(PREFIX + name, text, list(bounds), (*_RUN, *tags))
            for name, (tags, bounds, text) in HISTOGRAMS.items()
        }
        for metric in (*self._counters.values(), *self._gauges.values(), *self._histograms.values()):
            metric.set_default_tags(common)
        self._rows = 0
        self._before: dict[str, Mapping[str, float]] = {}
        self._deaths = self._starts = 0
        self._places: set[tuple[int, str]] = set()

    def begin(self, rows: int) -> None:
        """A round of the fill begins, with a new board and so many rows open."""
        self._rows = rows
        self._before = {}
        self._deaths = self._starts = 0

    def take(self, look: Look) -> None:
        """Publish what has happened since the last look, and what is in hand."""
        if not self._on:
            return
        for process, report in look.reports.items():
            before = self._before.get(process, {})
            tags = {"replica": str(report.replica), "node": report.node}
            for name, value in report.tally.items():
                grown = value - before.get(name, 0)
                if grown > 0:
                    self._add(name, grown, tags)
            self._before[process] = report.tally
        self._count("engine_starts", look.starts - self._starts)
        self._count("engine_deaths", look.deaths - self._deaths)
        self._starts, self._deaths = look.starts, look.deaths
        self._gauges["rows_open"].set(max(0, self._rows - look.total.get("rows", 0)))
        self._gauges["replicas"].set(look.living)
        self._in_hand(look.reports.values())

    def end(self) -> None:
        """The round is over: nothing is in hand, and nobody is left."""
        if self._on:
            self._gauges["replicas"].set(0)
            self._in_hand(())

    def decided(self, decisions: Mapping[Decided, int]) -> None:
        """Select has decided so many rows."""
        if self._on:
            for decision, count in decisions.items():
                self._count("rows_decided", count, {"decision": decision})

    def _in_hand(self, reports: Iterable[Report]) -> None:
        """What replicas have in hand; those that were seen before and have gone have nothing."""
        held: dict[tuple[int, str], Counts[str]] = {place: Counts() for place in self._places}
        for report in reports:
            held.setdefault((report.replica, report.node), Counts()).update(report.now)
        self._places = set(held)
        for (replica, node), now in held.items():
            for name, (tags, _) in GAUGES.items():
                if tags == _REPLICA:
                    self._gauges[name].set(now[name], {"replica": str(replica), "node": node})

    def _count(self, name: str, grown: float, tags: Tags | None = None) -> None:
        if grown > 0:
            self._counters[name].inc(grown, tags)

    def _add(self, name: str, grown: float, replica: Tags) -> None:
        """Add to the metrics what a count of a ledger (fill/ledger.py) has grown by."""
        if name in _PLAIN:
            self._count(_PLAIN[name], grown, replica)
            return
        kind, _, rest = name.partition(".")
        first, _, rubric = rest.partition(".")
        if kind == "outcome":
            scored = first == SCORED
            self._count("requests", grown, {"rubric": rubric, "outcome": SCORED if scored else "unscored"})
            if not scored:
                self._count("unscored", grown, {"rubric": rubric, "cause": first})
        elif kind == "retried":
            self._count("retries", grown, {"rubric": rest})
        elif kind == "seconds":
            self._observe("request_seconds", int(first), grown, {"rubric": rubric})
        elif kind == "flush":
            self._observe("flush_seconds", int(first), grown, replica)
        elif kind == "server":
            self._count("server_events", grown, {**replica, "event": rest})

    def _observe(self, name: str, span: int, count: float, tags: Tags) -> None:
        """Observe the middle of a span so many times. Ray's agent makes middles of what it is given in any case."""
        bounds = HISTOGRAMS[name][1]
        middle = 2 * bounds[-1] if span == len(bounds) else (bounds[span] + (bounds[span - 1] if span else 0)) / 2
        for _ in range(int(count)):
            self._histograms[name].observe(middle, tags)
