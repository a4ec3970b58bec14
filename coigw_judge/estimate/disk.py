"""What a run leaves on disk, measured by encoding a sample of it, and whether there is room.

New facts are taken to be as large as those in the store. Where there are none, facts about sampled records are encoded,
with reasons and notes as long as the schema allows. These are cut out of the records' own texts, so that they compress
as Chinese prose does.
"""

import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.decide.plan import Plan
from coigw_judge.hashing import digest
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.prompting.samples import FIRST
from coigw_judge.records.record import Record, record_digest
from coigw_judge.run_folder.verdict_schema import verdict_schema
from coigw_judge.scan import rows as scanning
from coigw_judge.storage.paths import is_uri
from coigw_judge.store.fact import DECIDING_COLUMNS, SCHEMA

_ENCODED = 300


@dataclass(frozen=True, slots=True)
class Room:
    """A local disk."""

    paths: tuple[str, ...]
    """The run's folders on it."""
    needed: float
    """Bytes that the run writes there."""
    free: int
    """Bytes."""

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.needed <= self.free


def longest_reply(schema: Mapping[str, Any], text: str) -> Any:
    """A reply that fills every text to its limit, with pieces of `text`."""
    if "properties" in schema:
        return {name: longest_reply(part, text[7:] + text[:7]) for name, part in schema["properties"].items()}
    if "enum" in schema:
        return max(schema["enum"], key=lambda value: len(str(value)))
    if schema["type"] == "boolean":
        return False
    most = int(schema.get("maxLength", 0))
    flat = "".join(text.split()) or "文"
    return (flat * (most // len(flat) + 1))[:most]


def fact_bytes(rubric: Rubric, schema: Mapping[str, Any], records: Sequence[Record]) -> tuple[float, float]:
    """Bytes of a fact, and of its deciding columns alone, where every text is as long as the schema allows."""
    rows = [_fact(rubric, schema, record) for record in records[:_ENCODED]]
    if not rows:
        return 0.0, 0.0
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    deciding = table.select(["home", "record", *DECIDING_COLUMNS])
    return _size(table) / len(rows), _size(deciding) / len(rows)


def _fact(rubric: Rubric, schema: Mapping[str, Any], record: Record) -> dict[str, Any]:
    reply = longest_reply(schema, record.texts["answer"])
    digests = record.digests()
    identity = record_digest(digests)
    scores, reasons, checks, choices, notes = _parts(rubric, reply)
    return {
        "key": digest([identity, rubric.name.encode()]), "record": identity, "home": digests["answer"],
        "rubric": rubric.name, "rubric_fingerprint": rubric.fingerprint(), "judge_fingerprint": rubric.fingerprint(),
        "sample": FIRST, "scores": scores, "reasons": reasons, "checks": checks, "choices": choices, "notes": notes,
        "expected": None, "raw": json.dumps(reply, ensure_ascii=False), "finish_reason": "stop", "flags": [],
        "attempt": 0, "prompt_tokens": record.chars, "cached_tokens": record.chars // 2, "generated_tokens": 99,
        "seconds": record.chars / 997, "created_at": datetime.now(UTC), "run": "estimate",
    }  # fmt: skip


def _parts(rubric: Rubric, reply: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """A reply's scores, reasons, checks, choices and notes."""
    values = dict(reply)
    reasons = {k: v["reason"] for k, v in values.items() if isinstance(v, dict) and "reason" in v}

    def of(keys: Sequence[str], name: str) -> dict[str, Any]:
        return {key: values[key][name] if isinstance(values[key], dict) else values[key] for key in keys}

    return (
        of([item.key for item in rubric.dimensions], "score"),
        reasons,
        of([item.key for item in rubric.checks], "value"),
        of([item.key for item in rubric.choices], "choice"),
        of([item.key for item in rubric.notes], "note"),
    )


def scan_bytes(records: Sequence[Record]) -> float:
    """Bytes that a scanned row takes."""
    rows: list[dict[str, Any]] = [
        {
            "home": digests["answer"], "split": 0, "row": n, "position": n * 997, "id": record.id,
            "record": record_digest(digests), **{str(field): value for field, value in digests.items()},
            "genre": record.genre, "flags": [], "chars": record.chars,
        }
        for n, record in enumerate(records[:_ENCODED])
        for digests in (record.digests(),)
    ]  # fmt: skip
    return _size(pa.Table.from_pylist(rows, schema=scanning.SCHEMA)) / len(rows) if rows else 0.0


def verdict_bytes(plan: Plan, schemas: Mapping[str, Mapping[str, Any]], records: Sequence[Record]) -> float:
    """Bytes that a verdict takes when all rubrics were asked and every text is as long as it may be."""
    rows = []
    for n, record in enumerate(records[:_ENCODED]):
        row: dict[str, Any] = {"row_id": f"part-00000.parquet:{n * 997}", "id": record.id, "decision": "kept"}
        row |= {
            "judge_reasons": {},
            "notes": {},
            "chars": record.chars,
            "record": record_digest(record.digests()).hex(),
        }
        for rubric in (*plan.rubrics, *plan.then):
            parts = _parts(rubric, longest_reply(schemas[rubric.name], record.texts["answer"]))
            row |= {f"{rubric.name}.{k}": v for part in (parts[0], parts[2], parts[3]) for k, v in part.items()}
            row["judge_reasons"] |= {f"{rubric.name}.{k}": v for k, v in parts[1].items()}
            row["notes"] |= {f"{rubric.name}.{k}": v for k, v in parts[4].items()}
        rows.append(row)
    return _size(pa.Table.from_pylist(rows, schema=verdict_schema(plan))) / len(rows) if rows else 0.0


def _size(table: pa.Table) -> float:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return float(len(sink.getvalue()))


def rooms(needed: Mapping[str, float]) -> list[Room]:
    """For each local disk on which paths of `needed` (path -> bytes) lie: whether they fit. URIs are left out."""
    disks: dict[int, list[str]] = {}
    for path in needed:
        if not is_uri(path):
            disks.setdefault(os.stat(_existing(path)).st_dev, []).append(path)
    return [
        Room(tuple(paths), sum(needed[path] for path in paths), shutil.disk_usage(_existing(paths[0])).free)
        for paths in disks.values()
    ]


def _existing(path: str) -> Path:
    """The path, or the nearest folder above it that is there."""
    place = Path(path)
    return next(folder for folder in (place, *place.parents) if folder.exists())
