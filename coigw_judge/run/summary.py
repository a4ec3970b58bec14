"""The summary that a person reads at the end of a run."""

from collections.abc import Mapping

from coigw_judge.run_folder.manifest import MEANINGLESS, Cache, GateReason, Manifest, ScreenHits, Tokens
from coigw_judge.text.units import clock


def summary(manifest: Manifest, folder: str) -> str:
    """What a run did, for a terminal."""
    lines = [f"{manifest.job}: {manifest.rows_in:,} rows"]
    lines.append(f"judge: {manifest.judge.model} ({manifest.judge.engine})")
    if manifest.judge.meaningless:
        lines.append(f"  ! {MEANINGLESS}")
    lines += ["", *_decision_lines(manifest), "", *screen_lines(manifest.screens)]
    lines += [*_gate_lines(manifest), *_cost_lines(manifest), ""]
    lines.append(f"run folder: {folder}")
    return "\n".join(lines)


def _decision_lines(manifest: Manifest) -> list[str]:
    total = manifest.rows_in or 1
    shown = [(name, n) for name, n in manifest.decisions.items() if n]
    most = max((n for _, n in shown), default=1)
    return [f"  {name:<10} {n:>9,}  {n / total:>6.1%}  {'█' * max(1, round(24 * n / most))}" for name, n in shown]


def screen_lines(screens: Mapping[str, ScreenHits]) -> list[str]:
    """What the screens did: a line for those that drop, one for those that flag."""
    dropped = [f"{name} {hits.dropped:,}" for name, hits in screens.items() if hits.dropped]
    flagged = [f"{name} {hits.flagged:,}" for name, hits in screens.items() if hits.flagged]
    done = {"dropped": dropped, "flagged": flagged}
    return [f"screens {what}: {'; '.join(names)}" for what, names in done.items() if names]


_ALONE: dict[GateReason, GateReason] = {"total": "total_only", "each": "each_only"}


def _gate_lines(manifest: Manifest) -> list[str]:
    reasons = manifest.gate_reasons
    if not reasons:
        return []
    names: dict[GateReason, str] = {
        "total": "sum too low",
        "each": "a score too low",
        "require": "a check failed",
        "not_applicable": "does not apply",
    }
    parts = []
    for kind, title in names.items():
        if kind in reasons:
            alone = reasons.get(_ALONE[kind]) if kind in _ALONE else 0
            parts.append(f"{title} {reasons[kind]:,}" + (f" (alone {alone:,})" if alone else ""))
    lines = [f"gate not passed by: {'; '.join(parts)}"]
    failures = manifest.failures
    if failures:
        lines.append("unscored: " + "; ".join(f"{name} {n:,}" for name, n in failures.items()))
    return lines


def _cost_lines(manifest: Manifest) -> list[str]:
    asks, tokens, seconds = manifest.asks, manifest.tokens, manifest.seconds
    retried = f", {asks.retried:,} tries repeated" if asks.retried else ""
    lines = [
        f"asks: {asks.made:,} made, {asks.from_store:,} from the store, "
        f"{asks.skipped:,} spared, {asks.failed:,} failed{retried}"
    ]
    repeated = manifest.repeated
    if repeated.rows:
        share = repeated.flipped / repeated.rows
        lines.append(f"asked twice: {repeated.rows:,} rows, of which {repeated.flipped:,} flipped ({share:.1%})")
    lines += _sample_lines(manifest)
    if manifest.exhaustive.rows:
        lines.append(
            f"asked in full: {manifest.exhaustive.rows:,} rows, so that rates are known (samples.exhaustive): "
            f"{asks.exhaustive:,} asks that early exit would have spared"
        )
    lines += _expected_lines(manifest)
    if tokens.prompt:
        lines.append(_token_line(tokens, manifest.cache))
    lines.append("time: " + ", ".join(f"{name} {clock(value)}" for name, value in seconds.items()))
    return [*lines, *_plan_lines(manifest)]


def _token_line(tokens: Tokens, cache: Cache) -> str:
    best, per_record = cache.best_hit_rate, cache.prefilled_per_record
    hit = f"{tokens.prompt_cached / tokens.prompt:.1%} from cache"
    hit += f", {best:.1%} at best" if best is not None else ""
    prefilled = f", {per_record:,.0f} prefilled per record" if per_record is not None else ""
    return f"tokens: {tokens.prompt:,} prompt ({hit}){prefilled}, {tokens.generated:,} generated"


def _sample_lines(manifest: Manifest) -> list[str]:
    """What further samples did, and what they cost; nothing where no row has several."""
    borderline, samples, tokens = manifest.borderline, manifest.samples, manifest.tokens
    if not borderline.resampled:
        return []
    share = borderline.flipped / borderline.resampled
    near = f", {borderline.rows:,} of them near a threshold" if samples.borderline > samples.count else ""
    failed = manifest.asks.extra_failed
    return [
        f"several samples ({samples.use}): {borderline.resampled:,} rows{near}; {borderline.flipped:,} ({share:.1%}) "
        "decided otherwise than by the first",
        f"  extra cost: {manifest.asks.extra:,} asks, {tokens.extra_prompt - tokens.extra_cached:,} tokens "
        f"prefilled, {tokens.extra_generated:,} generated"
        + (f"; {failed:,} further samples gave no score and are left out" if failed else ""),
    ]


def _expected_lines(manifest: Manifest) -> list[str]:
    expected = manifest.expected
    if not expected.given and not expected.missing:
        return []
    missing = "; ".join(f"{cause} {n:,}" for cause, n in expected.missing.items())
    return [f"expected scores: {expected.given:,}" + (f", missing: {missing}" if missing else "")]


def _plan_lines(manifest: Manifest) -> list[str]:
    """How far off the plan was; no line where there was no plan."""
    parts = []
    for name, planned, made in manifest.planned_and_made():
        if planned is not None and made is not None and name in manifest.estimate_error:
            shown = (clock(planned), clock(made)) if name == "seconds" else (f"{planned:,}", f"{made:,}")
            title = "time" if name == "seconds" else name.replace("_", " ")
            parts.append(f"{title} {shown[0]} → {shown[1]} ({manifest.estimate_error[name]:+.1%})")
    return ["planned → made: " + ", ".join(parts)] if parts else []
