"""Rows for a person to read: near misses, clear passes, and some of every other decision.

One pass over the verdicts finds them, with a bounded heap per kind; then the input's splits that hold them are read
once for their texts. Ties are broken by a hash of the row id, so that the rows shown are not those at the input's head,
and the same run always shows the same rows.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from coigw_judge.report.run_columns import Shape
from coigw_judge.run_folder import explain
from coigw_judge.run_folder import rows as input_rows
from coigw_judge.run_folder import verdicts as verdict_rows
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.manifest import Manifest
from coigw_judge.run_folder.verdicts import batches, scores_of

KINDS: Mapping[str, int] = {
    "near miss": 60,
    "clear pass": 40,
    "dropped": 20,
    "review": 20,
    "kept": 20,
    "unscored": 20,
    "screened": 10,
    "pending": 5,
    "duplicate": 5,
    "unreadable": 10,
}
"""What is shown and how many of each at the most. A near miss is a dropped or reviewed row that lacks the least."""


@dataclass(order=True, frozen=True, slots=True)
class _Pick:
    """A place in a heap: the largest `worth` stays; `tie` is a hash of the row id."""

    worth: float
    tie: int
    row_id: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row to read. `missing` says why there are no texts; `lacks` is how much a near miss is short of the gate;
    `below`: the items of the gate that it misses."""

    kind: str
    verdict: dict[str, Any]
    texts: dict[str, str]
    missing: str
    lacks: float | None
    below: frozenset[str]


def choose(run: Run, shape: Shape, manifest: Manifest, most: Mapping[str, int] = KINDS) -> list[Example]:
    """The rows to show, kind by kind, `most` of each; a row is shown once, under the first kind that takes it."""
    columns = ["row_id", "decision", "total", *shape.gate.floors, *(["expected"] if shape.uses_expected else [])]
    heaps: dict[str, list[_Pick]] = {kind: [] for kind in most}
    for batch in batches(run, columns):
        _pick(heaps, batch, shape, most)
    kinds: dict[str, tuple[str, float]] = {}
    for kind, heap in heaps.items():
        for pick in sorted(heap, reverse=True):
            kinds.setdefault(pick.row_id, (kind, pick.worth))
    verdicts = {row["row_id"]: row for row in verdict_rows.named(run, kinds, (), list(run.columns))}
    places = {row_id: (row["file"], row["position"]) for row_id, row in verdicts.items()}
    records = input_rows.records(manifest, places.values())
    shown = []
    for row_id, (kind, worth) in kinds.items():
        found = records[places[row_id]]
        shown.append(
            Example(
                kind=kind,
                verdict=verdicts[row_id],
                texts={} if isinstance(found, str) else dict(found.texts.items()),
                missing=found if isinstance(found, str) else "",
                lacks=-worth if kind == "near miss" else None,
                below=frozenset(
                    one.item
                    for one in explain.thresholds(shape.gate, verdicts[row_id])
                    if one.met in ("review", "fails")
                ),
            )
        )
    return shown


def _pick(heaps: dict[str, list[_Pick]], batch: pa.Table, shape: Shape, most: Mapping[str, int]) -> None:
    decision, ids = batch["decision"], batch["row_id"]
    short = _shortfall(batch, shape)
    missed = pc.is_in(decision, value_set=pa.array(["dropped", "review"])).to_numpy(zero_copy_only=False)
    near = np.flatnonzero(missed & np.isfinite(short) & (short > 0))
    _push(heaps["near miss"], most["near miss"], near, -short, ids)
    kept = np.flatnonzero(pc.equal(decision, "kept").to_numpy(zero_copy_only=False))
    _push(heaps["clear pass"], most["clear pass"], kept, np.nan_to_num(batch["total"].to_numpy().astype(float)), ids)
    for kind in most:
        if kind not in ("near miss", "clear pass"):
            rows = np.flatnonzero(pc.equal(decision, kind).to_numpy(zero_copy_only=False))
            _push(heaps[kind], most[kind], rows, np.zeros(batch.num_rows), ids)


def _shortfall(batch: pa.Table, shape: Shape) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """By how many points in all a row misses the thresholds; NaN where a score of the gate is not known."""
    lacks = np.zeros(batch.num_rows)
    if shape.gate.total is not None:
        lacks += np.maximum(0, shape.gate.total - batch["total"].cast(pa.float64()).to_numpy())
    for name, least in shape.gate.floors.items():
        lacks += np.maximum(0, least - scores_of(batch, name, shape.uses_expected))
    return lacks


def _push(heap: list[_Pick], most: int, rows: Any, worth: Any, ids: pa.ChunkedArray) -> None:
    """Put rows on a bounded heap. Of a batch only its best are looked at one by one."""
    if len(rows) > 4 * most:
        best = np.argpartition(-worth[rows], most - 1)
        bound = worth[rows][best[most - 1]]
        rows = rows[worth[rows] >= bound]
    for row in rows.tolist():
        row_id = ids[row].as_py()
        pick = _Pick(float(worth[row]), xxhash.xxh3_64_intdigest(row_id.encode("utf-8", "surrogatepass")), row_id)
        if len(heap) < most:
            heapq.heappush(heap, pick)
        elif heap[0] < pick:
            heapq.heapreplace(heap, pick)
