"""Which rows are copies of which, over the whole crawl: exact, nearly, by a cluster column, or of an excluded text.

    <scan's work>/keys-00000.parquet     what the rows of one split can be recognised by (KEYS), while the scan lasts
    <scan's work>/sorted-00000.parquet   the same of some splits, in order of `key`
    <scan's work>/links-00000.parquet    a bucket's rows that share a key with an earlier or excluded one (LINKS)
    <scan's work>/clusters.parquet       the cluster of every linked row (CLUSTERS), in input order

A key is the digest of an answer, of a band of its sketch (screens/minhash.py), or of its cluster; equal keys meet in
one bucket, whatever they stand for. Links make clusters. A cluster is as old as its earliest member, and represented
by the first in input order that no screen of its own drops.
Buckets bound memory but for the last step, which holds the links of all copies at once: some 100 bytes per row that
has a copy and band that it shares. That is meant for ten million rows with near duplicates, far more without.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.hashing import digest
from coigw_judge.input.listing import Split
from coigw_judge.input.splits import read_split
from coigw_judge.records.record import Record, Unreadable, to_record
from coigw_judge.screens import minhash
from coigw_judge.screens.characters import LOOKED_AT
from coigw_judge.screens.config import Screen
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import DIGEST, Numbers, Span
from coigw_judge.storage.paths import list_files, open_atomic
from coigw_judge.store.parts import Store

KEYS = pa.schema(
    [("key", DIGEST), ("kind", pa.int8()), ("row", pa.int64()), ("position", pa.int64()), ("published", pa.date32()),
     ("same", pa.int64())]
)  # fmt: skip
LINKS = pa.schema(
    [("kind", pa.int8()), ("row", pa.int64()), ("position", pa.int64()), ("first", pa.int64()),
     ("first_position", pa.int64()), ("published", pa.date32()), ("exact", pa.bool_()), ("excluded", pa.int64())]
)  # fmt: skip
CLUSTERS = pa.schema(
    [("split", pa.int64()), ("row", pa.int64()), ("published", pa.date32()), ("near_split", pa.int64()),
     ("near_position", pa.int64()), ("excluded", pa.int64()), ("excluded_near", pa.int64())]
)  # fmt: skip

ANSWER, QUERY, BAND, CLUSTER = range(4)
"""Kinds of keys. A query is compared with excluded texts alone."""

KEYS_PER_FILE = 4_000_000
KEYS_PER_BUCKET = 2_000_000

_SPLIT_BITS = 40
_DROPPED = 1 << 62
"""Set in the number of a row that a screen drops by itself: such a one represents others only where all are dropped."""

_NONE = np.iinfo(np.int64).max


def number(split: int, row: int, dropped: bool) -> int:
    """One number per row, in input order, those that are dropped behind the others."""
    return (split << _SPLIT_BITS) | row | (_DROPPED if dropped else 0)


class Keys:
    """Collects what the rows of a split can be recognised by. An excluded text's row is negative: -1 - its file."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._bands = screen.minhash or (screen.exclude is not None and screen.exclude.near != "off")
        self._rows: list[dict[str, Any]] = []
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self.tables: list[pa.Table] = []

    def add(self, record: Record, row: dict[str, Any], cluster: str | None = None) -> None:
        """One record, with the cluster that a column of its own names. `row` has the columns from `row` to `same`."""
        digests = record.digests()
        self._rows.append({"key": digests["answer"], "kind": ANSWER, **row})
        if self._screen.exclude is not None and "query" in digests:
            self.add_query(digests["query"], row)
        if cluster is not None:
            self._rows.append({"key": digest([b"cluster", cluster.encode()]), "kind": CLUSTER, **row})
        if self._bands:
            self._waiting.append((record.texts["answer"][:LOOKED_AT], row))
        if len(self._waiting) >= 500:
            self._sketch()
        if len(self._rows) >= 100_000:
            self._flush()

    def add_query(self, query: bytes, row: dict[str, Any]) -> None:
        """A query by its digest."""
        self._rows.append({"key": digest([b"query", query]), "kind": QUERY, **row})

    def _sketch(self) -> None:
        for (_, row), found in zip(self._waiting, minhash.bands([text for text, _ in self._waiting]), strict=True):
            self._rows += [{"key": key, "kind": BAND, **row} for key in found]
        self._waiting.clear()

    def _flush(self) -> None:
        self.tables.append(pa.Table.from_pylist(self._rows, schema=KEYS))
        self._rows.clear()

    def write(self, store: Store, work: str, number: int) -> int:
        """Write them all as one file; returns how many there are."""
        self._sketch()
        self._flush()
        table = pa.concat_tables(self.tables)
        with open_atomic(store.filesystem, f"{work}/keys-{number:05d}.parquet") as file:
            pq.write_table(table, file, compression="zstd")
        return int(table.num_rows)


def excluded_keys(
    store: Store, work: str, number: int, piece: Split, place: int, columns: Mapping[str, str], screen: Screen
) -> int:
    """The keys of the texts of a split that is excluded, the `place`-th; returns how many. A query may stand alone."""
    keys = Keys(screen)
    row = {"row": -1 - place, "position": 0, "published": None, "same": 0}
    for _, raw in read_split(piece):
        if isinstance(raw, Unreadable):
            continue
        for names in (columns, {}):  # an evaluation set need not have the input's columns
            record = to_record(raw, names)
            query = to_record({"answer": raw.get(names.get("query", "query"))}, {})
            if isinstance(record, Record):
                keys.add(record, row)
            elif isinstance(query, Record):
                keys.add_query(query.digests()["answer"], row)
            else:
                continue
            break
    return keys.write(store, work, number)


def gather(store: Store, work: str, number: int, splits: Iterable[int]) -> None:
    """Put the keys of some splits into one file, in order."""
    tables = [pq.read_table(store.filesystem.open_input_file(f"{work}/keys-{n:05d}.parquet")) for n in splits]
    with hash_ranges.sorted_file(store.filesystem, f"{work}/sorted-{number:05d}.parquet", KEYS) as file:
        file.append(hash_ranges.sort(pa.concat_tables(tables), "key"))


def find(store: Store, work: str, bucket: int, files: int, wanted: Span) -> int:
    """Write the links of a bucket of keys; returns how many."""
    paths = [f"{work}/sorted-{n:05d}.parquet" for n in range(files)]
    keys = pa.concat_tables([hash_ranges.read_span(store.filesystem, path, "key", wanted) for path in paths])
    links = _links(keys.combine_chunks())
    with open_atomic(store.filesystem, f"{work}/links-{bucket:05d}.parquet") as file:
        pq.write_table(links, file, compression="zstd")
    return int(links.num_rows)


def _links(keys: pa.Table) -> pa.Table:
    """Links between rows with equal keys."""
    if not keys.num_rows:
        return LINKS.empty_table()
    order, new = hash_ranges.runs(hash_ranges.as_bytes(keys["key"]), keys["row"].to_numpy())
    group = np.cumsum(new) - 1
    shared = np.bincount(group)[group] > 1
    keys, group = keys.take(pa.array(order[shared])), group[shared]
    if not keys.num_rows:
        return LINKS.empty_table()
    rows, position = keys["row"].to_numpy(), keys["position"].to_numpy()
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    at = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(group)]))
    lowest = rows[starts]  # an excluded text, where there is one
    ours = rows >= 0
    first = np.minimum.reduceat(np.where(ours, np.arange(len(rows)), len(rows)), starts)[at]
    days = _days(keys["published"])
    earliest = np.minimum.reduceat(days, starts)[at]
    excluded = np.where(lowest < 0, -1 - lowest, -1)[at]
    kind = keys["kind"].to_numpy()
    linked = ours & ((excluded >= 0) | ((kind != QUERY) & (np.arange(len(rows)) != first)))
    first = np.minimum(first, len(rows) - 1)
    columns = {
        "kind": kind,
        "row": rows,
        "position": position,
        "first": rows[first],
        "first_position": position[first],
        "published": _as_dates(earliest),
        "exact": _exact(kind, at, keys["same"].to_numpy(), ours),
        "excluded": excluded,
    }
    return pa.table([columns[name] for name in LINKS.names], schema=LINKS).filter(pa.array(linked))


def _exact(kind: Numbers, group: Numbers, same: Numbers, ours: Numbers) -> Numbers:
    """Whether an earlier row of the group is the very same record; rows of a group stand in order of their numbers."""
    order = np.lexsort((np.arange(len(group)), same, group))
    again = np.zeros(len(group), bool)
    one, other = order[:-1], order[1:]
    again[other] = (group[one] == group[other]) & (same[one] == same[other]) & ours[one]
    return np.asarray(again & (kind == ANSWER))


def _days(dates: pa.ChunkedArray) -> Numbers:
    days = dates.combine_chunks().cast(pa.int32()).cast(pa.int64()).fill_null(_NONE)
    return np.asarray(days.to_numpy(zero_copy_only=False), np.int64)


def _as_dates(days: Numbers) -> pa.Array:
    known = days != _NONE
    return pa.array(np.where(known, days, 0).astype(np.int32), mask=~known).cast(pa.date32())


def resolve(store: Store, work: str, screen: Screen) -> int:
    """Make clusters of all links and write every linked row's; returns how many rows that are."""
    found = [
        pq.read_table(store.filesystem.open_input_file(path))
        for path in list_files(store.filesystem, work, ".parquet")
        if path.rpartition("/")[2].startswith("links-")
    ]
    # Bands may be there for excluded texts alone; then they join no rows of ours.
    joining = (ANSWER, CLUSTER, BAND) if screen.minhash else (ANSWER, CLUSTER)
    table = _clusters(pa.concat_tables(found), joining) if found else CLUSTERS.empty_table()
    with open_atomic(store.filesystem, f"{work}/clusters.parquet") as file:
        pq.write_table(table, file, compression="zstd", row_group_size=hash_ranges.ROW_GROUP)
    return int(table.num_rows)


def _clusters(links: pa.Table, joining: Sequence[int]) -> pa.Table:
    kind, row, first = (links[name].to_numpy() for name in ("kind", "row", "first"))
    nodes, at = np.unique(np.concatenate([row, first]), return_inverse=True)
    row_at, first_at = at[: len(row)], at[len(row) :]
    joins = np.isin(kind, joining)
    label = _components(len(nodes), row_at[joins], first_at[joins])
    position = np.zeros(len(nodes), np.int64)
    position[row_at], position[first_at] = links["position"].to_numpy(), links["first_position"].to_numpy()
    earliest = np.full(len(nodes), _NONE)
    np.minimum.at(earliest, label[row_at[joins]], _days(links["published"])[joins])
    exact, similar = np.zeros(len(nodes), bool), np.zeros(len(nodes), bool)
    exact[row_at[links["exact"].to_numpy(zero_copy_only=False)]] = True
    near = joins & (kind != ANSWER)
    similar[row_at[near]] = similar[first_at[near]] = True
    excluded = {True: np.full(len(nodes), -1), False: np.full(len(nodes), -1)}
    by = links["excluded"].to_numpy()
    for word_for_word, file in excluded.items():
        chosen = (by >= 0) & ((kind != BAND) == word_for_word)
        file[row_at[chosen]] = by[chosen]
    plain = nodes & ~_DROPPED
    copy = (label != np.arange(len(nodes))) & similar & ~exact
    columns = {
        "split": plain >> _SPLIT_BITS,
        "row": plain & ((1 << _SPLIT_BITS) - 1),
        "published": _as_dates(earliest[label]),
        "near_split": pa.array(plain[label] >> _SPLIT_BITS, mask=~copy),
        "near_position": pa.array(position[label], mask=~copy),
        "excluded": pa.array(excluded[True], mask=excluded[True] < 0),
        "excluded_near": pa.array(excluded[False], mask=(excluded[False] < 0) | (excluded[True] >= 0)),
    }
    table = pa.table([columns[name] for name in CLUSTERS.names], schema=CLUSTERS)
    return table.sort_by([("split", "ascending"), ("row", "ascending")])


def _components(nodes: int, one: Numbers, other: Numbers) -> Numbers:
    """For every node the lowest that it is joined with, over any number of joins."""
    from scipy.sparse import coo_array, csgraph

    joins = coo_array((np.ones(len(one), np.bool_), (one, other)), (nodes, nodes))
    _, component = csgraph.connected_components(joins, directed=False)
    _, lowest = np.unique(component, return_index=True)
    return np.asarray(lowest[component])


Clusters = dict[tuple[int, int], dict[str, Any]]
"""Rows of CLUSTERS by split and row."""


def read_clusters(store: Store, work: str, splits: Sequence[int]) -> Clusters:
    """What is known of the clusters of the linked rows of some neighbouring splits."""
    table = pq.read_table(
        f"{work}/clusters.parquet",
        filesystem=store.filesystem,
        filters=[("split", ">=", min(splits)), ("split", "<=", max(splits))],
        partitioning=None,
    )
    return {(row["split"], row["row"]): row for row in table.to_pylist()}
