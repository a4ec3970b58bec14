"""Two tables of verdicts joined and counted, whole columns at a time; counts of several buckets add up.

Rows are joined on `id`. A row without id, or with an id that stands more than once in a run, is joined on its
row_id with a row of the same id, or the same lack of one. A flip is a change between kept, review and dropped;
no other decision says what the judge thought. A record whose texts changed says nothing about a rubric, so
everything is counted for it apart.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.run_folder.folder import ItemKind

JUDGED = ("kept", "review", "dropped")
GROUPS = ("unchanged", "changed")
SIDES = ("a", "b")
MILLION = 1_000_000
"""Sums of scores are kept in whole millionths, so that the order of buckets does not matter."""

Counts = Counter[tuple[str, ...]]
"""Numbers by what they count, in words:

    rows, RUN                           no_id, RUN                      repeated_id, RUN
    joined, id or row_id                only, RUN, DECISION             texts, GROUP
    pairs, GROUP, DECISION, DECISION    by, RUN, DECISION, VALUE (no VALUE where null)
    score, GROUP, NAME, one of n sum abs up down moved by_1 by_2
    check, GROUP, NAME, one of n to_true to_false       choice, GROUP, NAME, one of n changed
    noise, RUN, n or flips              noise_score, RUN, NAME, n or abs
"""
Codes = np.ndarray[Any, np.dtype[np.int64]]
_CODES = np.array([DECISIONS.index(name) for name in JUDGED])


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """Pairs of rows of A and B. The arrays run in parallel."""

    a: Codes
    """Row numbers in A."""
    b: Codes
    """Row numbers in B."""
    changed: np.ndarray[Any, np.dtype[np.bool_]]
    """Whether the texts differ."""
    by_id: int
    """How many pairs were joined on id; they come first."""
    repeated: tuple[int, int]
    """How many rows of A, and of B, share their id with another."""


def join(a: pa.Table, b: pa.Table, *, by_id: bool, texts_known: bool) -> JoinedRows:
    """Find the rows that stand in both tables. Without `by_id` row_id alone decides; unless `texts_known` (both
    runs have digests of the texts) no text counts as changed.
    """
    ids_a, ids_b, ids = _codes(a["id"], b["id"])
    if not by_id:
        ids_a, ids_b, ids = np.full_like(ids_a, -1), np.full_like(ids_b, -1), 0
    often = [np.bincount(codes[codes >= 0], minlength=ids) for codes in (ids_a, ids_b)]
    single = np.append((often[0] <= 1) & (often[1] <= 1), False)  # its last place is where the code -1 looks
    on_id = [np.flatnonzero(single[codes]) for codes in (ids_a, ids_b)]
    rest = [np.flatnonzero(~single[codes]) for codes in (ids_a, ids_b)]
    places_a, places_b, _ = _codes(a["row_id"].take(pa.array(rest[0])), b["row_id"].take(pa.array(rest[1])))
    left, right = _once_in_both(ids_a[on_id[0]], ids_b[on_id[1]], ids)
    wide = np.concatenate((places_a, places_b)) * (ids + 1) + np.concatenate((ids_a[rest[0]], ids_b[rest[1]])) + 1
    found, both = np.unique(wide, return_inverse=True)
    left_place, right_place = _once_in_both(both[: len(places_a)], both[len(places_a) :], len(found))
    rows_a = np.concatenate((on_id[0][left], rest[0][left_place]))
    rows_b = np.concatenate((on_id[1][right], rest[1][right_place]))
    repeated = (int(often[0][often[0] > 1].sum()), int(often[1][often[1] > 1].sum()))
    texts_a, texts_b, _ = _codes(a["record"], b["record"])
    changed = (texts_a[rows_a] != texts_b[rows_b]) & texts_known
    return JoinedRows(rows_a, rows_b, changed, len(left), repeated)


def _once_in_both(a: Codes, b: Codes, codes: int) -> tuple[Codes, Codes]:
    """Where the codes stand that occur exactly once on either side."""
    once = (np.bincount(a, minlength=codes) == 1) & (np.bincount(b, minlength=codes) == 1)
    where = np.zeros(codes, dtype=np.int64)
    where[b] = np.arange(len(b))
    left = np.flatnonzero(once[a])
    return left, where[a[left]]


def _codes(a: pa.ChunkedArray, b: pa.ChunkedArray) -> tuple[Codes, Codes, int]:
    """Equal values of two columns as equal numbers, -1 for null; and how many there are."""
    coded = pa.chunked_array([*a.chunks, *b.chunks], a.type).combine_chunks().dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes[: len(a)], codes[len(a) :], len(coded.dictionary)


def count(a: pa.Table, b: pa.Table, joined: JoinedRows, items: Mapping[str, ItemKind]) -> Counts:
    """All counts of a pair of tables. `items` are the scores, checks and choices that both have."""
    counts: Counts = Counter()
    for run, table, rows, repeated in (("a", a, joined.a, joined.repeated[0]), ("b", b, joined.b, joined.repeated[1])):
        counts["rows", run] += table.num_rows
        counts["no_id", run] += table["id"].null_count
        counts["repeated_id", run] += repeated
        alone = np.ones(table.num_rows, dtype=bool)
        alone[rows] = False
        for code, n in enumerate(np.bincount(_numbers(table["decision"])[alone], minlength=len(DECISIONS))):
            counts["only", run, DECISIONS[code]] += int(n)
        _count_by(counts, run, table)
        _count_noise(counts, run, table)
    counts["joined", "id"] += joined.by_id
    counts["joined", "row_id"] += len(joined.a) - joined.by_id
    for group, of_group in zip(GROUPS, (~joined.changed, joined.changed), strict=True):
        if of_group.any():
            _count_pairs(counts, group, a, b, joined.a[of_group], joined.b[of_group], items)
    return counts


def _numbers(column: pa.ChunkedArray) -> Codes:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _count_by(counts: Counts, run: str, table: pa.Table) -> None:
    coded = table["by"].combine_chunks().dictionary_encode()
    values = [(value,) for value in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    cells = np.bincount(codes * len(DECISIONS) + _numbers(table["decision"]))
    for cell in np.flatnonzero(cells):
        value, decision = divmod(int(cell), len(DECISIONS))
        counts["by", run, DECISIONS[decision], *([*values, ()][value])] += int(cells[cell])


def _count_pairs(
    counts: Counts, group: str, a: pa.Table, b: pa.Table, left: Codes, right: Codes, items: Mapping[str, ItemKind]
) -> None:
    counts["texts", group] += len(left)
    wide = _numbers(a["decision"])[left] * len(DECISIONS) + _numbers(b["decision"])[right]
    for cell, n in enumerate(np.bincount(wide, minlength=len(DECISIONS) ** 2)):
        if n:
            before, after = divmod(cell, len(DECISIONS))
            counts["pairs", group, DECISIONS[before], DECISIONS[after]] += int(n)
    for name, kind in items.items():
        if kind == "choice":
            before_codes, after_codes, _ = _codes(a[name], b[name])
            found = _choice(before_codes[left], after_codes[right])
        else:
            before_values, after_values = _floats(a[name])[left], _floats(b[name])[right]
            found = _shift(before_values, after_values) if kind == "score" else _check(before_values, after_values)
        for what, n in found.items():
            counts[kind, group, name, what] += n


def _floats(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers, or true and false as 1 and 0; NaN for null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _shift(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> dict[str, int]:
    by = _whole(after - before)
    size = np.abs(by)
    steps = {"by_1": (size >= MILLION) & (size < 2 * MILLION), "by_2": size >= 2 * MILLION}
    found = {"n": len(by), "sum": int(by.sum()), "abs": int(size.sum()), "moved": int((size > 0).sum())}
    found |= {"up": int((by > 0).sum()), "down": int((by < 0).sum())}
    return found | {name: int(mask.sum()) for name, mask in steps.items()}


def _whole(differences: np.ndarray[Any, Any]) -> Codes:
    """Differences in millionths, without those that lack a side."""
    return np.asarray(np.rint(differences[np.isfinite(differences)] * MILLION), dtype=np.int64)


def _check(before: np.ndarray[Any, Any], after: np.ndarray[Any, Any]) -> dict[str, int]:
    by = _whole(after - before)
    return {"n": len(by), "to_true": int((by > 0).sum()), "to_false": int((by < 0).sum())}


def _choice(before: Codes, after: Codes) -> dict[str, int]:
    both = (before >= 0) & (after >= 0)
    return {"n": int(both.sum()), "changed": int((both & (before != after)).sum())}


def _count_noise(counts: Counts, run: str, table: pa.Table) -> None:
    """What re-asking alone changed: the further sample beside the verdict of the same row."""
    first, again = _numbers(table["decision"]), _numbers(table["repeat_decision"])
    judged = np.isin(first, _CODES) & np.isin(again, _CODES)
    counts["noise", run, "n"] += int(judged.sum())
    counts["noise", run, "flips"] += int((judged & (first != again)).sum())
    rows = np.flatnonzero(table["repeat_scores"].is_valid().to_numpy())
    if not len(rows):
        return
    maps = table["repeat_scores"].take(pa.array(rows)).combine_chunks()  # taken afresh: no slice, no nulls
    owners = np.repeat(rows, np.diff(maps.offsets.to_numpy()))
    names = maps.keys.dictionary_encode()
    values, codes = maps.items.to_numpy(zero_copy_only=False), names.indices.to_numpy()
    for code, name in enumerate(names.dictionary.to_pylist()):
        if name in table.column_names and pa.types.is_floating(table[name].type):
            mine = codes == code
            size = np.abs(_whole(values[mine] - _floats(table[name])[owners[mine]]))
            counts["noise_score", run, name, "n"] += len(size)
            counts["noise_score", run, name, "abs"] += int(size.sum())


def flips(a: pa.Table, b: pa.Table, joined: JoinedRows) -> pa.Table:
    """The rows that flipped: id, row_id (of A), from, to, changed (whether the texts did)."""
    before, after = _numbers(a["decision"])[joined.a], _numbers(b["decision"])[joined.b]
    flipped = np.flatnonzero(np.isin(before, _CODES) & np.isin(after, _CODES) & (before != after))
    names = pa.array(DECISIONS)
    found = a.select(["id", "row_id"]).take(pa.array(joined.a[flipped]))
    found = found.append_column("from", names.take(pa.array(before[flipped])))
    found = found.append_column("to", names.take(pa.array(after[flipped])))
    return found.append_column("changed", pa.array(joined.changed[flipped])).combine_chunks()


def first_flips(tables: list[pa.Table], most: int) -> list[pa.Table]:
    """Of every kind of flip the first `most` by id, each kind a table; so the order of buckets does not matter."""
    table = pa.concat_tables(tables)
    table = table.append_column("label", pc.coalesce(table["id"], table["row_id"]))
    table = table.sort_by([(name, "ascending") for name in ("changed", "from", "to", "label", "row_id")])
    kinds = pc.binary_join_element_wise(table["changed"].cast(pa.string()), table["from"], table["to"], "/")
    codes = kinds.combine_chunks().dictionary_encode().indices.to_numpy()
    bounds = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), len(codes)]
    plain = table.drop_columns(["label"])
    return [plain.slice(start, min(stop - start, most)) for start, stop in pairwise(bounds)]
