"""Looking after a store: `store verify` finds what is wrong with its files, `store stats` says what is in it.

Both read part by part and only the columns they need; in memory is one part, or the keys of one pass.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import Span
from coigw_judge.store.parts import PART_NAME, Part, Store, foreign

FaultKind = Literal["torn", "foreign", "lost", "leftover", "doubled"]
SERIOUS: tuple[FaultKind, ...] = ("torn", "foreign", "lost")
"""Kinds that keep facts from being read; the others only take room."""

_KEYS_PER_PASS = 50_000_000


@dataclass(frozen=True, slots=True)
class StoreFault:
    """Something in a store that should not be so, and what to do about it."""

    kind: FaultKind
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What verify found, and how much it read."""

    parts: int
    """Sound ones."""
    facts: int
    """In the sound parts."""
    findings: tuple[StoreFault, ...]

    @property
    def sound(self) -> bool:
        """Whether all facts can be read."""
        return not any(finding.kind in SERIOUS for finding in self.findings)

    def as_text(self) -> str:
        """For a terminal: a line per finding, then the verdict."""
        lines = [f"{fault.kind:<9} {fault.path}: {fault.text}" for fault in self.findings]
        state = "every part can be read" if self.sound else "NOT SOUND: see the lines marked torn, foreign or lost"
        return "\n".join([*lines, f"{self.parts:,} parts with {self.facts:,} facts; {state}"])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "sound": self.sound}


def verify(store: Store) -> Verified:
    """Read every part in use, whole, and look for files that do not belong. Changes nothing."""
    findings: list[StoreFault] = []
    sound: list[Part] = []
    facts = 0
    for part in store.parts():
        trouble = _trouble(store, part)
        if isinstance(trouble, StoreFault):
            findings.append(trouble)
        else:
            facts += trouble
            sound.append(part)
    findings += [*_leftovers(store), *_doubled(store, sound, facts)]
    return Verified(len(sound), facts, tuple(findings))


def _trouble(store: Store, part: Part) -> StoreFault | int:
    """What is wrong with a part, or how many facts it has."""
    away = "move it out of the store; what it held is asked again by the next fill"
    try:
        with pq.ParquetFile(store.filesystem.open_input_file(part.path)) as file:
            reason = foreign(file.schema_arrow)
            if reason:
                return StoreFault("foreign", part.path, f"holds no facts ({reason}); {away}")
            for batch in file.iter_batches(hash_ranges.ROW_GROUP):
                if part.span is not None and not _in_order(batch, part.span):
                    return StoreFault("foreign", part.path, f"its homes are not those its compaction names; {away}")
            rows = int(file.metadata.num_rows)
    except FileNotFoundError:
        return StoreFault(
            "lost", part.path, "a compaction names it and it is gone; bring it back from a copy, or " + away
        )
    except (OSError, pa.ArrowInvalid) as error:
        return StoreFault("torn", part.path, f"cannot be read ({' '.join(str(error).split())}); {away}")
    if part.span is None and PART_NAME.fullmatch(part.name) is None:
        return StoreFault(
            "foreign", part.path, "is not named as parts are; if its facts are wanted, leave it, else move it"
        )
    return rows


def _in_order(batch: pa.RecordBatch, span: Span) -> bool:
    head = hash_ranges.heads(batch.column("home"))
    inside = not len(head) or (int(head[0]) >= span.low and int(head[-1]) < span.high)
    return inside and bool(np.all(head[1:] >= head[:-1]))


def _leftovers(store: Store) -> Iterator[StoreFault]:
    """Files that a killed writer, compaction or run left; they are never read."""
    infos = store.filesystem.get_file_info(fs.FileSelector(store.path("parts"), allow_not_found=True))
    for info in sorted(infos, key=lambda info: str(info.path)):
        if info.type == fs.FileType.File and info.base_name.endswith(".tmp"):
            yield StoreFault(
                "leftover",
                info.path,
                "half written by a killed process; `store compact` deletes it after a day",
            )
    named = {compaction["id"] for compaction in store.compactions()}
    for name in store.folders("compacted"):
        if name not in named:
            text = "of a compaction that was cut off or still runs; `store compact` deletes it after a day"
            yield StoreFault("leftover", store.path("compacted", name), text)
    for name in store.folders("work"):
        yield StoreFault(
            "leftover", store.path("work", name), "of a run that was killed or still runs; delete it once no job runs"
        )


def _doubled(store: Store, parts: Sequence[Part], facts: int) -> Iterator[StoreFault]:
    """Keys that were answered more than once, counted in passes over the keys alone."""
    passes = max(1, -(-facts // _KEYS_PER_PASS))
    keys = more = 0
    for number in range(passes):
        wanted = hash_ranges.span(number, passes)
        keys_of_parts = [hash_ranges.within(_keys(store, part), "key", wanted)["key"] for part in parts]
        if not keys_of_parts:
            continue
        _, new = hash_ranges.runs(np.concatenate([hash_ranges.as_bytes(part_keys) for part_keys in keys_of_parts]))
        more += int(np.count_nonzero(~new))
        keys += int(np.count_nonzero(new[:-1] & ~new[1:]))
    if keys:
        text = (
            f"{keys:,} requests have {more:,} facts more than one (two jobs at once, a kill, --retry-unscored); "
            "harmless: the earliest score counts"
        )
        yield StoreFault("doubled", store.path("parts"), text)


def _keys(store: Store, part: Part) -> pa.Table:
    with pq.ParquetFile(store.filesystem.open_input_file(part.path)) as file:
        return file.read(columns=["key"])


_SUMS = ("prompt_tokens", "cached_tokens", "generated_tokens", "seconds", "attempt")


def stats(store: Store) -> list[dict[str, Any]]:
    """Per day, model and rubric: facts, failures by cause, retries, tokens, seconds of waiting. Raises FixStore."""
    names = _model_names(store)
    rows: dict[tuple[str, str, str], Counter[str]] = {}
    columns = ("rubric", "judge_fingerprint", "cause", "created_at", *_SUMS)
    for part in store.parts():
        table = store.read_part(part, columns)
        table = table.append_column("day", pc.strftime(table["created_at"], "%Y-%m-%d"))
        grouped = table.group_by(["day", "judge_fingerprint", "rubric", "cause"]).aggregate(
            [("key", "count"), *((name, "sum") for name in _SUMS)]
        )
        for group in grouped.to_pylist():
            judge = group["judge_fingerprint"]
            counts = rows.setdefault((group["day"], names.get(judge, judge), group["rubric"]), Counter())
            counts["facts"] += group["key_count"]
            if group["cause"] is not None:
                counts[f"failed.{group['cause']}"] += group["key_count"]
            counts.update({name: group[f"{name}_sum"] or 0 for name in _SUMS})
    return [
        {"day": day, "model": model, "rubric": rubric, **rows[day, model, rubric]}
        for day, model, rubric in sorted(rows)
    ]


def _model_names(store: Store) -> dict[str, str]:
    """The models' names in the jobs, by judge fingerprint; where two share a name, the fingerprint is added to it."""
    models = {asks["identity"]["fingerprint"]: asks["identity"]["model"] for asks in store.all_asks()}
    often = Counter(models.values())
    return {
        fingerprint: name if often[name] == 1 else f"{name} {fingerprint[:8]}" for fingerprint, name in models.items()
    }


def stats_as_text(store: Store, rows: Sequence[dict[str, Any]]) -> str:
    """Three tables: by rubric, by model, by day."""
    parts = store.parts()
    size = sum(part.size for part in parts)
    compacted = sum(part.span is not None for part in parts)
    total = sum(row["facts"] for row in rows)
    lines = [
        f"{store.root}: {total:,} facts in {len(parts):,} parts ({compacted:,} compacted), {size / 2**20:,.1f} MiB"
    ]
    for name in ("rubric", "model", "day"):
        lines += ["", *_table(name, rows)]
    if len(parts) - compacted > 1000:
        lines += ["", f"many small parts: `coigw-judge store compact {store.root}` makes reading faster"]
    return "\n".join(lines)


def _table(name: str, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    groups: dict[str, Counter[str]] = {}
    for row in rows:
        counts = {key: value for key, value in row.items() if key not in ("day", "model", "rubric")}
        groups.setdefault(row[name], Counter()).update(counts)
    width = max([len(name), *(len(group) for group in groups)])
    titles = ("facts", "failed", "retries", "prompt tokens", "cached", "generated")
    yield f"{name:<{width}} " + " ".join(f"{t:>{w}}" for t, w in zip(titles, (12, 9, 9, 16, 7, 14), strict=True))
    for group in sorted(groups):
        counts_of_group = groups[group]
        failed = sum(count for key, count in counts_of_group.items() if key.startswith("failed."))
        hit = (
            counts_of_group["cached_tokens"] / counts_of_group["prompt_tokens"]
            if counts_of_group["prompt_tokens"]
            else 0.0
        )
        yield (
            f"{group:<{width}} {counts_of_group['facts']:>12,} {failed:>9,} {counts_of_group['attempt']:>9,} "
            f"{counts_of_group['prompt_tokens']:>16,} {hit:>7.0%} {counts_of_group['generated_tokens']:>14,}"
        )
