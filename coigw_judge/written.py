"""The folders of `write`: the rows of a decision, with the input's own columns and the verdict's beside them.

Group by group of splits: a group's verdicts are looked up in the verdict parts by file and position, then its
splits are read once more. Where a verdict column bears the name of an input column it is called verdict_<name>.
Not known here: Ray, how a row was decided.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.job import DECISIONS
from coigw_judge.paths import list_files, make_folder, open_filesystem, write_atomic
from coigw_judge.record import Unreadable
from coigw_judge.source import Split, read

Format = Literal["parquet", "jsonl"]
_ROWS_PER_PART = 20_000


def decisions_to_write(write: Iterable[str]) -> list[str]:
    """The decisions that `write` names; `all` stands for every one."""
    named = set(write)
    return [d for d in DECISIONS if d in named or "all" in named]


def write_group(
    group: int, pieces: list[Split], rows: list[int], folder: str, decisions: list[str], form: Format
) -> dict[str, int]:
    """Write what was decided on a group of splits, of which `rows` were scanned each; returns rows by decision."""
    verdicts = _verdicts(folder, _wanted(pieces, rows, decisions))
    parts = {decision: _Part(folder, decision, group, form) for decision in decisions}
    counts: Counter[str] = Counter()
    for piece, count in zip(pieces, rows, strict=True):
        for number, (position, row) in enumerate(read(piece)):
            if number >= count:
                break
            found = verdicts.get((piece.name, position))
            if found is not None:
                original = {"unreadable": row.reason} if isinstance(row, Unreadable) else row
                parts[found["decision"]].add(_merged(original, found))
                counts[found["decision"]] += 1
    for part in parts.values():
        part.close()
    return dict(counts)


def _wanted(pieces: list[Split], rows: list[int], decisions: list[str]) -> list[tuple[str, str, Any]]:
    """A filter for the verdicts of a group; where the group lies in one file, by position too."""
    names = sorted({piece.name for piece in pieces})
    wanted: list[tuple[str, str, Any]] = [("file", "in", names), ("decision", "in", decisions)]
    first, last = pieces[0], pieces[-1]
    if len(names) == 1 and first.format == "parquet":
        wanted += [("position", ">=", first.first), ("position", "<", last.first + rows[-1])]
    elif len(names) == 1 and last.stop >= 0:
        wanted += [("position", ">=", first.start), ("position", "<", last.stop)]
    return wanted


def _verdicts(folder: str, wanted: list[tuple[str, str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    filesystem, inner = open_filesystem(folder)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in list_files(filesystem, f"{inner}/verdicts", ".parquet"):
        for row in pq.read_table(path, filesystem=filesystem, filters=wanted, partitioning=None).to_pylist():
            found[(row["file"], row["position"])] = row
    return found


def _merged(original: dict[str, Any], verdict: dict[str, Any]) -> dict[str, Any]:
    for name in ("judge_reasons", "notes"):
        verdict[name] = dict(verdict[name] or [])
    own = {f"verdict_{name}" if name in original else name: value for name, value in verdict.items()}
    return {**original, **own}


class _Part:
    """One decision's rows of a group, written in files of bounded size."""

    def __init__(self, folder: str, decision: str, group: int, form: Format) -> None:
        self._filesystem, inner = open_filesystem(folder)
        self._stem = f"{inner}/{decision}/part-{group:05d}"
        self._folder = f"{inner}/{decision}"
        self._form = form
        self._rows: list[dict[str, Any]] = []
        self._files = 0

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROWS_PER_PART:
            self.close()

    def close(self) -> None:
        if not self._rows:
            return
        make_folder(self._filesystem, self._folder)
        path = f"{self._stem}-{self._files:03d}.{self._form}"
        write_atomic(
            self._filesystem, path, _as_jsonl(self._rows) if self._form == "jsonl" else _as_parquet(self._rows)
        )
        self._files += 1
        self._rows.clear()


def _as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows).encode("utf-8", "replace")


def _as_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows of one type per column; a column of mixed types is kept as text rather than lost."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column(name, [row.get(name) for row in rows]) for name in columns})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _column(name: str, values: list[Any]) -> pa.Array:
    if name.removeprefix("verdict_") in ("judge_reasons", "notes"):
        return pa.array([list((value or {}).items()) for value in values], pa.map_(pa.string(), pa.string()))
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        return pa.array([_as_text(value) for value in values], pa.string())
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()
