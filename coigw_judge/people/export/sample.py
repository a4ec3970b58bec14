"""Which rows of a run go to people: those of some decisions, the best of each group, or a weighted sample.

One pass over the verdicts' few columns; what is held is bounded by what is chosen. A sample is drawn by the hash of
row_id and seed, so it stays the same when verdicts are written anew. It is stratified: every stratum gets an equal
number of rows as far as it has them, and a row's weight is how many rows of its stratum it stands for.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.errors import FixJob
from coigw_judge.people.labels.join import SAMPLES
from coigw_judge.run_folder import verdicts
from coigw_judge.run_folder.folder import Run
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.paths import open_atomic

READABLE = tuple(name for name in DECISIONS if name not in ("unreadable", "duplicate"))
"""Decisions that a sample is drawn from: an unreadable row has no text, a duplicate stands in another row already."""
_HASHES = 1 << 62
PRUNE_AT = 200_000
"""Rows that are held before those of them that can no longer be taken are let go."""
_COLUMNS = ("row_id", "decision", "total", "file", "position")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows: row_id, decision, file, position, stratum, weight (null where nothing was drawn). `strata`: its rows, and
    how many of them were drawn. `sample`: the name under which calibrate finds the weights."""

    rows: pa.Table
    strata: dict[str, tuple[int, int]]
    sample: str | None = None


def of_decisions(run: Run, decisions: Sequence[str]) -> Chosen:
    """All rows of these decisions."""
    tables = list(verdicts.batches(run, _COLUMNS, _decided(decisions)))
    return Chosen(_finished(run, tables), {})


def best_of(run: Run, decisions: Sequence[str], column: str, most: int) -> Chosen:
    """The `most` rows with the highest sums of every value of a column; a row without a sum comes last."""
    verdicts.check_column(run, column, "--per")
    held: list[pa.Table] = []
    for table in verdicts.batches(run, _columns(column), _decided(decisions)):
        held.append(table.append_column("stratum", verdicts.group_of(table, column)))
        if sum(each.num_rows for each in held) > PRUNE_AT:
            held = [_first(pa.concat_tables(held), most, "total", "descending").drop_columns(["place"])]
    table = _first(pa.concat_tables(held), most, "total", "descending") if held else None
    return Chosen(_finished(run, [] if table is None else [table]), {})


def sample(
    run: Run, decisions: Sequence[str], by: Sequence[str], size: int, seed: int, prune_at: int = PRUNE_AT
) -> Chosen:
    """Draw `size` rows, evenly over the strata that the columns `by` make. Raises FixJob where strata are more."""
    for column in by:
        verdicts.check_column(run, column, "--stratify")
    held: list[pa.Table] = []
    counts: Counter[str] = Counter()
    for table in verdicts.batches(run, _columns(*by), _decided(decisions)):
        strata = _joined([verdicts.group_of(table, column) for column in by], table.num_rows)
        keys = pc.binary_join_element_wise(str(seed), table["row_id"].combine_chunks(), ":").cast(pa.large_string())
        hashes = pa.array(hash_ranges.bucket_of(keys, _HASHES))
        held.append(table.append_column("stratum", strata).append_column("hash", hashes))
        for value in pc.value_counts(strata).to_pylist():
            counts[value["values"]] += value["counts"]
        if sum(each.num_rows for each in held) > prune_at:
            held = [_first(pa.concat_tables(held), size, "hash", "ascending").drop_columns(["place"])]
    sizes = allotted(counts, size)
    if not held:
        return Chosen(_finished(run, []), {})
    table = _first(pa.concat_tables(held), size, "hash", "ascending")
    drawn = pa.array([sizes[name] for name in table["stratum"].to_pylist()])
    table = table.filter(pc.less(table["place"], drawn))
    weights = [counts[name] / sizes[name] for name in table["stratum"].to_pylist()]
    table = table.append_column("weight", pa.array(weights, pa.float64()))
    draw = hashlib.sha256(repr((sorted(decisions), list(by), size, seed, run.manifest.run)).encode()).hexdigest()
    strata = {name: (n, sizes[name]) for name, n in sorted(counts.items())}
    return Chosen(_finished(run, [table]), strata, f"{size}-{draw[:8]}")


def allotted(counts: Counter[str], size: int) -> dict[str, int]:
    """How many to draw of each stratum: the same number, as far as it has them; together `size` where there are."""
    if size < len(counts):
        raise FixJob(
            f"--sample {size:,}: there are {len(counts):,} strata, and each needs a row; draw more, or stratify by less"
        )
    left, found = size, {}
    for place, (name, n) in enumerate(sorted(counts.items(), key=lambda item: (item[1], item[0]))):
        found[name] = min(n, left // (len(counts) - place))
        left -= found[name]
    return found


def write_sample(run: Run, chosen: Chosen) -> None:
    """Leave a sample's weights in the run folder, where calibrate finds them."""
    inner = run.paths[0].rsplit("/verdicts/", 1)[0]
    with open_atomic(run.filesystem, f"{inner}/{SAMPLES}/{chosen.sample}.parquet") as file:
        pq.write_table(chosen.rows.select(["row_id", "stratum", "weight"]), file)


def _columns(*more: str) -> list[str]:
    return list(dict.fromkeys([*_COLUMNS, *more]))


def _decided(decisions: Sequence[str]) -> ds.Expression:
    return ds.field("decision").isin(pa.array(list(decisions)))


def _joined(groups: Sequence[pa.Array], rows: int) -> pa.Array:
    if not groups:
        return pa.array(["all"] * rows, pa.string())
    return groups[0] if len(groups) == 1 else pc.binary_join_element_wise(*groups, " · ")


def _first(table: pa.Table, most: int, by: str, direction: Any) -> pa.Table:
    """The first rows of every stratum, with their `place` in it."""
    order = [("stratum", "ascending"), (by, direction), ("row_id", "ascending")]
    table = table.take(pc.sort_indices(table, sort_keys=order))  # nulls last
    stratum = table["stratum"].combine_chunks().dictionary_encode()
    starts = dict(zip(*(each.to_pylist() for each in (pc.value_counts(stratum.indices).flatten())), strict=True))
    offsets, start = [0] * len(starts), 0
    for code in range(len(starts)):
        offsets[code] = start
        start += starts[code]
    first = pa.array(offsets, pa.int64()).take(stratum.indices)
    place = pc.subtract(pa.array(range(table.num_rows), pa.int64()), first)
    return table.append_column("place", place).filter(pc.less(place, most))


def _finished(run: Run, tables: Sequence[pa.Table]) -> pa.Table:
    names = {"row_id": pa.string(), "decision": pa.string(), "file": pa.string(), "position": pa.int64()}
    names |= {"stratum": pa.string(), "weight": pa.float64()}
    table = pa.concat_tables(tables) if tables else pa.table({name: pa.array([], of) for name, of in names.items()})
    columns = {
        name: table[name] if name in table.column_names else pa.nulls(table.num_rows, of) for name, of in names.items()
    }
    return pa.table(columns)
