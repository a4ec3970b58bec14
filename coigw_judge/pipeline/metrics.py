"""A run's metrics, as Ray exports them to Prometheus. docs/metrics.md says what each means and how to ask for it.

The driver publishes for all processes: once a second it looks at the board and adds what has grown. So a process that
dies takes no count with it, the counts are those of the manifest, and a request costs no message of its own. Counts
reach Prometheus through the driver's node; the tag `node` is the judge's node. A local cluster exports nothing
(cluster.py), and there nothing is recorded. The counts are made in fill/ledger.py.
"""

import os
from collections import Counter as Counts
from collections.abc import Iterable, Mapping

from ray.util.metrics import Counter, Gauge, Histogram

from coigw_judge.decide.decisions import Decided
from coigw_judge.fill.ledger import FLUSH_SECONDS, HELD, REQUEST_SECONDS, SCORED, FillTally, Held
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
        self._before: dict[str, FillTally] = {}
        self._deaths = self._starts = 0
        self._places: set[tuple[int, str]] = set()

    def begin(self, rows: int) -> None:
        """A round of the fill begins, with a new board and so many rows open."""
        self._rows = rows
        self._before = {}
        self._deaths = self._starts = 0

    def take(self, look: Look) -> None:
        """Publish what has happened since the last look, and what is in progress."""
        if not self._on:
            return
        for process, report in look.reports.items():
            grown = report.tally - self._before.get(process, FillTally())
            self._add(grown, {"replica": str(report.replica), "node": report.node})
            self._before[process] = report.tally
        self._count("engine_starts", look.starts - self._starts)
        self._count("engine_deaths", look.deaths - self._deaths)
        self._starts, self._deaths = look.starts, look.deaths
        self._gauges["rows_open"].set(max(0, self._rows - look.total.rows))
        self._gauges["replicas"].set(look.living)
        self._in_hand(look.reports.values())

    def end(self) -> None:
        """The round is over: nothing is in progress, and no replica is left."""
        if self._on:
            self._gauges["replicas"].set(0)
            self._in_hand(())

    def decided(self, decisions: Mapping[Decided, int]) -> None:
        """Select has decided so many rows."""
        if self._on:
            for decision, count in decisions.items():
                self._count("rows_decided", count, {"decision": decision})

    def _in_hand(self, reports: Iterable[Report]) -> None:
        """Publish what is in progress per replica; 0 for replicas that have left."""
        held = {place: Counts[Held]() for place in self._places}
        for report in reports:
            held.setdefault((report.replica, report.node), Counts()).update(report.now)
        self._places = set(held)
        for (replica, node), now in held.items():
            for what in HELD:
                self._gauges[what].set(now[what], {"replica": str(replica), "node": node})

    def _count(self, name: str, grown: float, tags: Tags | None = None) -> None:
        if grown > 0:
            self._counters[name].inc(grown, tags)

    def _add(self, grown: FillTally, replica: Tags) -> None:
        """Add to the metrics what a process's tally has grown by."""
        of_replica = {
            "records_judged": grown.rows,
            "facts_written": grown.facts,
            "requests_from_store": grown.from_store,
            "prompt_tokens": grown.tokens.prompt,
            "cached_tokens": grown.tokens.cached,
            "generated_tokens": grown.tokens.generated,
            "flush_failures": grown.failed_flushes,
        }
        for name, count in of_replica.items():
            self._count(name, count, replica)
        for rubric, outcomes in grown.outcomes.items():
            unscored = {cause: count for cause, count in outcomes.items() if cause != SCORED}
            self._count("requests", outcomes[SCORED], {"rubric": rubric, "outcome": SCORED})
            self._count("requests", sum(unscored.values()), {"rubric": rubric, "outcome": "unscored"})
            for cause, count in unscored.items():
                self._count("unscored", count, {"rubric": rubric, "cause": cause})
        for rubric, count in grown.retries.items():
            self._count("retries", count, {"rubric": rubric})
        for rubric, spans in grown.seconds.items():
            self._observe("request_seconds", spans, {"rubric": rubric})
        self._observe("flush_seconds", grown.flushes, replica)
        for name, count in grown.server.items():
            self._count("server_events", count, {**replica, "event": name})

    def _observe(self, name: str, spans: Mapping[int, int], tags: Tags) -> None:
        """Observe the middle of each span, as often as it was counted. Ray's agent keeps only such middles anyway."""
        bounds = HISTOGRAMS[name][1]
        for span, count in spans.items():
            middle = 2 * bounds[-1] if span == len(bounds) else (bounds[span] + (bounds[span - 1] if span else 0)) / 2
            for _ in range(count):
                self._histograms[name].observe(middle, tags)
