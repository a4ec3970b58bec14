"""Compaction: many parts into few, sorted by home, so that a bucket of records is a few row groups of them.

    1  the parts are read in groups; each group is sorted into one file of a working folder
    2  span by span these files are merged into parts of about Sizes.part_facts facts, in <store>/compacted/<id>/
    3  <store>/compactions/<id>.json names the new parts and those that they replace

Step 3 writes one file, and before it nothing counts: a crash leaves parts that nobody reads, and a later compaction
deletes them. Readers pass over what is replaced; it is deleted a day later. A job may append meanwhile: parts younger
than two hours are left alone, because its actors look for them after a restart. Two compactions at once would leave
facts in two places; that does no harm, for each key is read once, and the next compaction drops the copies. A
compacted part is merged again only with as much as its own size or more, so a fact is rewritten a few times in its
life.
"""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import Span
from coigw_judge.storage.paths import write_atomic
from coigw_judge.store.fact import SCHEMA
from coigw_judge.store.parts import Part, Store, without_rolled_up
from coigw_judge.store.writer import KEPT_SECONDS, moment

SETTLED_SECONDS = 2 * 3600
"""The actors of a running fill may still look for younger parts; clocks may differ by minutes."""

GROUP_BYTES = 32 << 20
"""Compressed bytes that are sorted at once: some hundred MB in memory."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a compaction takes at a time."""

    group_bytes: int = GROUP_BYTES
    """Compressed bytes of parts that are sorted at once."""
    facts_at_once: int = 200_000
    """Facts that are merged in memory."""
    part_facts: int = 1_000_000
    """Facts of a compacted part: a multiple of `facts_at_once`."""
    settled_seconds: int = SETTLED_SECONDS
    """The least age of loose parts that are compacted."""


def groups(parts: Sequence[Part], group_bytes: int = GROUP_BYTES) -> list[list[Part]]:
    """Neighbouring parts of about `group_bytes` each."""
    grouped: list[list[Part]] = []
    size = group_bytes
    for part in parts:
        if size >= group_bytes:
            grouped.append([])
            size = 0
        grouped[-1].append(part)
        size += part.size
    return grouped


def sort_parts(
    store: Store, parts: Sequence[Part], path: str, columns: Sequence[str], pairs: frozenset[str] | None = None
) -> int:
    """Write the facts of some parts into one file in order of their homes; returns how many. Raises FixStore."""
    tables = [store.read_part(part, columns, pairs) for part in parts]
    table = hash_ranges.sort(pa.concat_tables(tables), "home")
    with hash_ranges.sorted_file(store.filesystem, path, table.schema) as file:
        file.append(table)
    return int(table.num_rows)


def compact(store: Store, *, all_parts: bool = False, sizes: Sizes = Sizes()) -> dict[str, Any]:
    """Compact the parts that no actor looks for any more (`all_parts`: all; no job may be filling the store then).

    Returns counts: `facts`, `parts_before`, `parts_after`, `left` (parts too young), `deleted` (files of a day ago).
    Raises FixStore for a part that is no part.
    """
    deleted = _delete_replaced(store) + _delete_half_written(store)
    chosen, left = _choose(store.parts(), all_parts, sizes.settled_seconds)
    counts = {"facts": 0, "parts_before": len(chosen), "parts_after": 0, "left": left, "deleted": deleted}
    if not chosen:
        return counts | {"parts_before": 0}
    identity = f"{moment()}-{secrets.token_hex(4)}"
    work = store.path("work", f"compact-{identity}")
    try:
        sources = []
        for number, group in enumerate(groups(chosen, sizes.group_bytes)):
            path = f"{work}/{number:05d}.parquet"
            counts["facts"] += sort_parts(store, group, path, SCHEMA.names)
            sources.append(path)
        made = _merge(store, sources, counts["facts"], identity, sizes)
    finally:
        store.clear(work)
    described = {"replaces": _replaced_by(store, chosen), "parts": made}
    data = json.dumps(described, indent=1).encode()
    write_atomic(store.filesystem, store.path("compactions", f"{identity}.json"), data)
    return counts | {"parts_after": len(made)}


def _choose(parts: list[Part], all_parts: bool, settled_seconds: int) -> tuple[list[Part], int]:
    """The settled loose parts, and compacted ones from the smallest as long as they are no larger than the rest."""
    settled = moment(settled_seconds)
    loose = [part for part in parts if part.span is None]
    chosen = [part for part in loose if all_parts or part.name < settled]
    gathered = sum(part.size for part in chosen)
    if chosen:
        for part in sorted((part for part in parts if part.span is not None), key=lambda part: part.size):
            if part.size > gathered:
                break
            chosen.append(part)
            gathered += part.size
    return chosen, len(loose) - sum(part.span is None for part in chosen)


def _merge(store: Store, sources: list[str], facts: int, identity: str, sizes: Sizes) -> list[dict[str, Any]]:
    """Span by span, from all sources, into parts; returns how a compaction names them."""
    slices = max(1, -(-facts // sizes.facts_at_once))
    per_part = max(1, sizes.part_facts // sizes.facts_at_once)
    made: list[dict[str, Any]] = []
    for first in range(0, slices, per_part):
        numbers = range(first, min(first + per_part, slices))
        name = f"compacted/{identity}/{len(made):05d}.parquet"
        with hash_ranges.sorted_file(store.filesystem, store.path(name), SCHEMA) as file:
            for number in numbers:
                wanted = hash_ranges.span(number, slices)
                tables = [
                    hash_ranges.read_span(store.filesystem, path, "home", wanted, SCHEMA.names) for path in sources
                ]
                file.append(_without_copies(hash_ranges.sort(pa.concat_tables(tables), "home")))
            rows = file.rows
        whole = Span(hash_ranges.span(numbers[0], slices).low, hash_ranges.span(numbers[-1], slices).high)
        size = store.filesystem.get_file_info(store.path(name)).size
        made.append({"name": name, "low": whole.low, "high": whole.high, "facts": rows, "size": size})
    return made


def _without_copies(table: pa.Table) -> pa.Table:
    """Each fact once: facts with the same key and time are one fact, read from two places."""
    if table.num_rows < 2:
        return table
    created = table["created_at"].cast(pa.int64()).to_numpy()
    order, new = hash_ranges.runs(hash_ranges.as_bytes(table["key"]), created)
    copies = order[1:][~new[1:] & (created[order][1:] == created[order][:-1])]
    return table if not len(copies) else table.take(pa.array(np.setdiff1d(np.arange(table.num_rows), copies)))


def _replaced_by(store: Store, chosen: Sequence[Part]) -> list[str]:
    """The chosen parts, and the small ones that a rolled-up part among them replaced before."""
    gone = {part.name for part in chosen}
    rest = [part for part in store.loose_files() if part.name not in gone]
    loose = [part for part in chosen if part.span is None]
    visible = {part.name for part in without_rolled_up([*loose, *rest])}
    return [_relative(store, part) for part in (*chosen, *(part for part in rest if part.name not in visible))]


def _relative(store: Store, part: Part) -> str:
    return part.path.removeprefix(store.path("")).lstrip("/")


def _delete_replaced(store: Store) -> int:
    """Delete parts that were replaced a day ago, and compactions of which none is left; returns how many parts."""
    old = moment(KEPT_SECONDS)
    compactions = store.compactions()
    gone = {name for compaction in compactions if compaction["id"] < old for name in compaction["replaces"]}
    names = [name for name in sorted(gone) if _delete(store, name)]
    for compaction in compactions:
        if compaction["parts"] and all(part["name"] in gone for part in compaction["parts"]):
            store.filesystem.delete_file(store.path("compactions", f"{compaction['id']}.json"))
    named = {compaction["id"] for compaction in compactions}
    for folder in store.folders("compacted"):
        if folder not in named and folder < old:  # cut off before it counted
            store.clear(store.path("compacted", folder))
    return len(names)


def _delete_half_written(store: Store) -> int:
    """Delete files that killed processes left half written in parts/, under hidden names, a day ago or earlier."""
    infos = store.filesystem.get_file_info(fs.FileSelector(store.path("parts"), allow_not_found=True))
    old = time.time() - KEPT_SECONDS
    hidden = [info for info in infos if info.base_name.startswith(".") and info.base_name.endswith(".tmp")]
    gone = [info.path for info in hidden if info.mtime is not None and info.mtime.timestamp() < old]
    return sum(_delete(store, path.removeprefix(store.path("")).lstrip("/")) for path in gone)


def _delete(store: Store, name: str) -> bool:
    try:
        store.filesystem.delete_file(store.path(name))
    except FileNotFoundError:
        return False
    return True


def as_text(counts: dict[str, Any]) -> str:
    """What a compaction did, in a line or two."""
    if counts["parts_before"]:
        done = f"{counts['facts']:,} facts: {counts['parts_before']:,} parts are now {counts['parts_after']:,}"
    else:
        done = "nothing to compact"
    young = (
        f"; {counts['left']:,} parts of the last two hours were left (--all takes them too)" if counts["left"] else ""
    )
    gone = f"\n{counts['deleted']:,} files of no use for a day are deleted" if counts["deleted"] else ""
    return done + young + gone
