"""What `diff` has counted, as one report for JSON: shares, intervals, means, and what the manifests say differently."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from coigw_judge.decide.decisions import DECISIONS, Decided
from coigw_judge.diff.tally import GROUPS, JUDGED, MILLION, SIDES, Counts
from coigw_judge.errors import FixStore
from coigw_judge.run_folder.folder import ItemKind, Run
from coigw_judge.run_folder.manifest import Manifest

_WEIGHTY = ("rubrics.", "requests.", "judge.", "gate.", "rows_in", "input.")
"""Differences that are listed first."""
_KINDS: tuple[ItemKind, ...] = ("score", "check", "choice")


def common_items(runs: tuple[Run, Run]) -> dict[str, ItemKind]:
    """The scores, checks and choices that both runs have, in the order of A's columns."""
    return {name: kind for kind in _KINDS for name in runs[0].items(kind) if name in runs[1].items(kind)}


def build(
    runs: tuple[Run, Run],
    counts: Counts,
    kinds: Sequence[pa.Table],
    *,
    by: str,
    ids: int,
    joined_on: str,
    texts_known: bool,
) -> dict[str, Any]:
    """The report. `kinds` are the first `ids` flips of every kind. Raises FixStore where no row was joined."""
    joined = {on: counts["joined", on] for on in ("id", "row_id")}
    if not sum(joined.values()):
        raise FixStore(
            f"{runs[0].folder} and {runs[1].folder} share no row: no {joined_on} stands in both; "
            "give two runs over the same records"
        )
    items = common_items(runs)
    groups = {group: _group(counts, group, kinds, items) for group in GROUPS}
    noise = {side: _noise(counts, side, run) for side, run in zip(SIDES, runs, strict=True)}
    return {
        "runs": {side: _about(run) for side, run in zip(SIDES, runs, strict=True)},
        "differs": differences(runs[0].manifest, runs[1].manifest),
        "only_in": {side: _items_of_one(runs[at], items) for at, side in enumerate(SIDES)},
        "join": {
            "rows": {side: counts["rows", side] for side in SIDES},
            "joined": sum(joined.values()),
            "on": joined,
            "joined_on": joined_on,
            "unchanged": counts["texts", "unchanged"],
            "changed": counts["texts", "changed"],
            "texts_known": texts_known,
            "no_id": {side: counts["no_id", side] for side in SIDES},
            "repeated_id": {side: counts["repeated_id", side] for side in SIDES},
            "only_in": {side: _nonzero({d: counts["only", side, d] for d in DECISIONS}) for side in SIDES},
        },
        "transitions": _transitions(counts),
        **groups,
        "noise": noise,
        "finding": _finding(groups["unchanged"], noise),
        "yield": _yields(counts, by),
        "ids_bound": ids,
    }


def _about(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "folder": run.folder,
        "run": manifest.run,
        "judge": manifest.judge.model,
        "meaningless": manifest.judge.meaningless,
        "complete": manifest.complete,
    }


def _items_of_one(run: Run, common: Mapping[str, ItemKind]) -> list[str]:
    return [name for kind in _KINDS for name in run.items(kind) if name not in common]


def differences(a: Manifest, b: Manifest) -> list[dict[str, Any]]:
    """What two manifests say differently, as dotted keys with both values: rubrics, judge, gate, rows, the rest."""
    both = (_settings(a), _settings(b))
    keys = [key for key in {**both[0], **both[1]} if both[0].get(key) != both[1].get(key) and _says_more(key, both)]
    keys.sort(key=lambda key: next((n for n, kind in enumerate(_WEIGHTY) if key.startswith(kind)), len(_WEIGHTY)))
    return [{"key": key, "a": both[0].get(key), "b": both[1].get(key)} for key in keys]


def _says_more(key: str, settings: tuple[Mapping[str, Any], Mapping[str, Any]]) -> bool:
    """A request's fingerprint covers its rubric and the judge: it tells something only where these are the same."""
    kind, _, name = key.partition(".")
    covered = ("judge.fingerprint", f"rubrics.{name}")
    if kind != "requests":
        return True
    return all(key in t for t in settings) and all(settings[0].get(name) == settings[1].get(name) for name in covered)


def _settings(manifest: Manifest) -> dict[str, Any]:
    """A manifest's word on what may decide a verdict, as flat dotted keys."""
    job = dict(manifest.configuration)
    for known in ("rubrics", "then", "gate", "name", "store", "out", "write"):
        job.pop(known, None)
    settings: dict[str, Any] = {f"rubrics.{name}": value for name, value in manifest.rubrics.items()}
    settings |= {f"requests.{name}": value for name, value in manifest.requests.items()}
    judge = {**(job.pop("judge", None) or {}), **asdict(manifest.judge)}
    settings |= _flat("judge", judge) | _flat("gate", manifest.gate)
    settings |= {"rows_in": manifest.rows_in} | _flat("input", job.pop("input", None) or {})
    for key, value in job.items():
        settings |= _flat(key, value)
    return settings | {"store": manifest.store} | _flat("versions", manifest.versions)


def _flat(key: str, value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {name: one for inner, of in value.items() for name, one in _flat(f"{key}.{inner}", of).items()}
    return {key: value}


def _nonzero(counts: Mapping[Decided, int]) -> dict[str, int]:
    return {name: n for name, n in counts.items() if n}


def _transitions(counts: Counts) -> dict[str, dict[str, int]]:
    """Decisions of all joined rows: in A, then in B."""
    table = {a: {b: sum(counts["pairs", group, a, b] for group in GROUPS) for b in DECISIONS} for a in DECISIONS}
    return {before: cells for before, row in table.items() if (cells := _nonzero(row))}


def _group(counts: Counts, group: str, kinds: Sequence[pa.Table], items: Mapping[str, ItemKind]) -> dict[str, Any]:
    """Flips and shifts of the records whose texts are the same, or of those whose texts are not."""
    cells = {(a, b): counts["pairs", group, a, b] for a in JUDGED for b in JUDGED}
    flipped = {pair: n for pair, n in cells.items() if pair[0] != pair[1]}
    of_group = [t for t in kinds if t.num_rows and t["changed"][0].as_py() == (group == "changed")]
    ids = {(t["from"][0].as_py(), t["to"][0].as_py()): t.select(["id", "row_id"]).to_pylist() for t in of_group}
    return {
        **_share(sum(flipped.values()), sum(cells.values())),
        "kept_to_not_kept": sum(n for (before, _), n in flipped.items() if before == "kept"),
        "not_kept_to_kept": sum(n for (_, after), n in flipped.items() if after == "kept"),
        "between_review_and_dropped": sum(n for pair, n in flipped.items() if "kept" not in pair),
        "kinds": [{"from": a, "to": b, "flips": n, "ids": ids.get((a, b), [])} for (a, b), n in flipped.items() if n],
        "scores": [_score(counts, group, name) for name, kind in items.items() if kind == "score"],
        "checks": [_check(counts, group, name) for name, kind in items.items() if kind == "check"],
        "choices": [_choice(counts, group, name) for name, kind in items.items() if kind == "choice"],
    }


def _share(flips: int, n: int) -> dict[str, Any]:
    return {"n": n, "flips": flips, "share": _over(flips, n), "interval": wilson(flips, n)}


def _over(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def wilson(k: int, n: int) -> list[float] | None:
    """The 95 % Wilson score interval of a share k of n; None where n is 0."""
    from scipy.stats import binomtest

    if not n:
        return None
    interval = binomtest(k, n).proportion_ci(0.95, "wilson")
    return [float(interval.low), float(interval.high)]


def _score(counts: Counts, group: str, name: str) -> dict[str, Any]:
    def of(what: str) -> int:
        return counts["score", group, name, what]

    n = of("n")
    found = {
        "name": name,
        "n": n,
        "mean_shift": _over(of("sum") / MILLION, n),
        "mean_size": _over(of("abs") / MILLION, n),
    }
    return found | {what: _over(of(what), n) for what in ("moved", "by_1", "by_2", "up", "down")}


def _check(counts: Counts, group: str, name: str) -> dict[str, Any]:
    n, to_true, to_false = (counts["check", group, name, what] for what in ("n", "to_true", "to_false"))
    changed = _over(to_true + to_false, n)
    return {"name": name, "n": n, "changed": changed, "to_true": _over(to_true, n), "to_false": _over(to_false, n)}


def _choice(counts: Counts, group: str, name: str) -> dict[str, Any]:
    n = counts["choice", group, name, "n"]
    return {"name": name, "n": n, "changed": _over(counts["choice", group, name, "changed"], n)}


def _noise(counts: Counts, side: str, run: Run) -> dict[str, Any] | None:
    """What re-asking alone flips in a run; None where it re-asked nothing that was decided."""
    n = counts["noise", side, "n"]
    if not n:
        return None
    scores = []
    for name in run.items("score"):
        pairs = counts["noise_score", side, name, "n"]
        if pairs:
            size = counts["noise_score", side, name, "abs"] / MILLION / pairs
            scores.append({"name": name, "n": pairs, "mean_size": size})
    return {"asked": run.manifest.repeat, **_share(counts["noise", side, "flips"], n), "scores": scores}


def _finding(flips: Mapping[str, Any], noise: Mapping[str, Mapping[str, Any] | None]) -> str:
    """How the flips of unchanged records stand to the noise floor, by whether the 95 % intervals overlap.

    One of `nothing judged in both`, `no noise floor`, `above`, `below`, `not told apart`.
    """
    floors = [floor["interval"] for floor in noise.values() if floor is not None]
    if flips["interval"] is None:
        return "nothing judged in both"
    if not floors:
        return "no noise floor"
    low, high = flips["interval"]
    if low > max(top for _, top in floors):
        return "above"
    return "below" if high < min(bottom for bottom, _ in floors) else "not told apart"


def _yields(counts: Counts, by: str) -> dict[str, Any]:
    """The share that is kept of what was judged, by value of a column, the largest groups first."""
    groups: dict[str | None, dict[str, dict[str, int]]] = {}
    for key, n in counts.items():
        if key[0] == "by":
            _, side, decision, *value = key
            sides = groups.setdefault(value[0] if value else None, {side: dict.fromkeys(JUDGED, 0) for side in SIDES})
            if decision in JUDGED:
                sides[side][decision] += n
    rows = [{"value": value, **_yield(sides)} for value, sides in groups.items()]
    rows = [row for row in rows if row["a"]["judged"] or row["b"]["judged"]]
    rows.sort(key=lambda row: (-row["a"]["judged"] - row["b"]["judged"], row["value"] is None, row["value"] or ""))
    summed = {s: {d: sum(sides[s][d] for sides in groups.values()) for d in JUDGED} for s in SIDES}
    return {"by": by, "all": _yield(summed), "groups": rows}


def _yield(sides: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, cells in sides.items():
        judged = sum(cells.values())
        found[side] = {"judged": judged, "kept": cells["kept"], "yield": _over(cells["kept"], judged)}
    before, after = found["a"]["yield"], found["b"]["yield"]
    return {**found, "change": None if before is None or after is None else after - before}
