"""The folders of `write`: the rows of a decision, with the input's own columns and the verdict's beside them.

Group by group of splits: a group's verdicts are looked up in the verdict parts by file and position, then its
splits are read once more. Where a verdict column bears the name of an input column it is called verdict_<name>.
A value that a format cannot hold becomes text; in the end `unify` gives all Parquet parts of a decision the same
columns.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.decide.decisions import DECISIONS, Decided
from coigw_judge.input.listing import Split
from coigw_judge.input.splits import read_split
from coigw_judge.records.record import Unreadable
from coigw_judge.storage.jsonl import json_line
from coigw_judge.storage.paths import list_files, make_folder, open_filesystem, write_atomic
from coigw_judge.text.unseen import encodable

Format = Literal["parquet", "jsonl"]
_ROWS_PER_PART = 20_000
CHARS_PER_PART = 128 << 20
_MAPS: dict[str, tuple[Any, pa.DataType]] = {
    "judge_reasons": (str, pa.string()),
    "notes": (str, pa.string()),
    "expected": (float | None, pa.float64()),
}
"""Columns of verdicts that hold maps from texts to values: the values' Python and Arrow types."""


def decisions_to_write(write: Iterable[str]) -> list[Decided]:
    """The decisions that `write` names; `all` stands for every one."""
    named = set(write)
    return [d for d in DECISIONS if d in named or "all" in named]


def write_group(
    group: int,
    pieces: list[Split],
    rows: list[int],
    folder: str,
    decisions: Sequence[str],
    form: Format,
    chars_per_part: int = CHARS_PER_PART,
) -> dict[str, int]:
    """Write the decided rows of a group of splits, and return how many, by decision.

    `rows`: how many rows of each split were scanned. A file ends once it holds `chars_per_part` characters.
    """
    verdicts = _verdicts(folder, _wanted(pieces, rows, decisions))
    parts = {decision: _Part(folder, decision, group, form, chars_per_part) for decision in decisions}
    counts: Counter[str] = Counter()
    for piece, count in zip(pieces, rows, strict=True):
        for number, (position, row) in enumerate(read_split(piece)):
            if number >= count:
                break
            verdict = verdicts.get((piece.name, position))
            if verdict is not None:
                original = {"unreadable": row.reason} if isinstance(row, Unreadable) else row
                parts[verdict["decision"]].add(original, verdict)
                counts[verdict["decision"]] += 1
    for part in parts.values():
        part.close()
    return dict(counts)


def _wanted(pieces: list[Split], rows: list[int], decisions: Sequence[str]) -> list[tuple[str, str, Any]]:
    """A filter for the verdicts of a group; where the group lies in one file, by position too."""
    names = sorted({piece.name for piece in pieces})
    wanted: list[tuple[str, str, Any]] = [("file", "in", names), ("decision", "in", decisions)]
    first, last = pieces[0], pieces[-1]
    if len(names) == 1 and first.format == "parquet":
        wanted += [("position", ">=", first.first), ("position", "<", last.first + rows[-1])]
    elif len(names) == 1 and last.stop > 0:
        wanted += [("position", ">=", first.start), ("position", "<", last.stop)]
    return wanted


def _verdicts(folder: str, wanted: list[tuple[str, str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    filesystem, inner = open_filesystem(folder)
    verdicts: dict[tuple[str, int], dict[str, Any]] = {}
    for path in list_files(filesystem, f"{inner}/verdicts", ".parquet"):
        for row in pq.read_table(path, filesystem=filesystem, filters=wanted, partitioning=None).to_pylist():
            verdicts[(row["file"], row["position"])] = row
    return verdicts


class _Part:
    """One decision's rows of a group, written in files of bounded size."""

    def __init__(self, folder: str, decision: str, group: int, form: Format, most_chars: int) -> None:
        self._filesystem, inner = open_filesystem(folder)
        self._stem = f"{inner}/{decision}/part-{group:05d}"
        self._folder = f"{inner}/{decision}"
        self._form = form
        self._most_chars = most_chars
        self._rows: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._chars = 0
        self._files = 0

    def add(self, original: dict[str, Any], verdict: dict[str, Any]) -> None:
        self._rows.append((original, verdict))
        self._chars += sum(len(value) for value in original.values() if isinstance(value, (str, bytes)))
        if len(self._rows) >= _ROWS_PER_PART or self._chars >= self._most_chars:
            self.close()

    def close(self) -> None:
        if not self._rows:
            return
        make_folder(self._filesystem, self._folder)
        path = f"{self._stem}-{self._files:03d}.{self._form}"
        rows = _merged(self._rows)
        write_atomic(self._filesystem, path, _as_jsonl(rows) if self._form == "jsonl" else _as_parquet(rows))
        self._files += 1
        self._rows.clear()
        self._chars = 0


def _merged(rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Input and verdict side by side. A verdict's column that bears an input column's name is renamed, in all rows."""
    taken = {name for original, _ in rows for name in original}
    names = {name: name for _, verdict in rows for name in verdict}
    for name in names:
        while names[name] in taken:
            names[name] = f"verdict_{names[name]}"
    merged = []
    for original, verdict in rows:
        for name in _MAPS.keys() & verdict.keys():
            verdict[name] = dict(verdict[name] or [])
        merged.append({**original, **{names[name]: value for name, value in verdict.items()}})
    return merged


# JSONL


def _as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json_line(row) for row in rows)


# Parquet


def _as_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows of one type per column; a column of mixed types is kept as text rather than lost."""
    columns: dict[str, pa.Array] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        own = encodable(name)
        while own in columns:
            own += "_"
        columns[own] = _column(name, [row.get(name) for row in rows])
    return _parquet_bytes(pa.table(columns))


def _parquet_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _column(name: str, values: list[Any]) -> pa.Array:
    holds, type_ = _MAPS.get(name.removeprefix("verdict_"), (None, None))
    if holds is not None and all(isinstance(value, dict | None) for value in values):
        pairs = [[(k, v) for k, v in (value or {}).items() if isinstance(v, holds)] for value in values]
        if all(len(pair) == len(value or {}) for pair, value in zip(pairs, values, strict=True)):
            return pa.array(pairs, pa.map_(pa.string(), type_))
    try:
        array = pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.array([_as_text(value) for value in values], pa.string())
    return pa.array([_as_text(value) for value in values], pa.string()) if _empty_struct(array.type) else array


def _empty_struct(type_: pa.DataType) -> bool:
    """Whether a type holds an object without keys, for which Parquet has no place."""
    if pa.types.is_struct(type_) and not type_.num_fields:
        return True
    return any(_empty_struct(type_.field(n).type) for n in range(type_.num_fields))


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return encodable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def unify(folder: str, decisions: Iterable[str]) -> None:
    """Give all Parquet parts of a decision the same columns, so that the folder reads as one table.

    Each part has types by its own rows: a column that is all null in one holds numbers or text in another. Where the
    types differ otherwise, the column becomes text in all parts.
    """
    filesystem, inner = open_filesystem(folder)
    for decision in decisions:
        paths = list_files(filesystem, f"{inner}/{decision}", ".parquet")
        schemas = [pq.read_schema(path, filesystem=filesystem) for path in paths]
        if not schemas:
            continue
        types: dict[str, set[pa.DataType]] = {}
        for schema in schemas:
            for column in schema:
                types.setdefault(column.name, set()).add(column.type)
        target = pa.schema([(name, _common_type(types_of_column)) for name, types_of_column in types.items()])
        for path, schema in zip(paths, schemas, strict=True):
            if not schema.equals(target):
                table = pq.read_table(path, filesystem=filesystem, partitioning=None)
                write_atomic(filesystem, path, _parquet_bytes(_with_schema(table, target)))


def _common_type(types: set[pa.DataType]) -> pa.DataType:
    typed = {type_ for type_ in types if not pa.types.is_null(type_)}
    return typed.pop() if len(typed) == 1 else pa.string()


def _with_schema(table: pa.Table, target: pa.Schema) -> pa.Table:
    columns = []
    for column in target:
        if column.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, column.type))
        elif table[column.name].type == column.type:
            columns.append(table[column.name])
        elif pa.types.is_null(table[column.name].type):
            columns.append(pa.nulls(table.num_rows, column.type))
        else:
            columns.append(pa.array([_as_text(value) for value in table[column.name].to_pylist()], column.type))
    return pa.Table.from_arrays(columns, schema=target)
