"""Facts on disk, once and for good.

    <store>/parts/*.parquet            facts as they come in, append-only (writer.py says what the names mean)
    <store>/compacted/<id>/*.parquet   many parts made into few, sorted by home (compaction.py)
    <store>/compactions/<id>.json      which compacted parts there are and what they replace; written last
    <store>/asks/<digest>.json         ask fingerprints by job configuration, so that select needs no tokenizer
    <store>/scans/<digest>/            what scan found (scan/rows.py writes and reads it)
    <store>/rates/<run>.json           what a fill took, for the next plan (estimate/speed.py)
    <store>/work/<run>/                files of one run, deleted when it ends

Every file is written under a temporary name and renamed, so a reader never sees half of one; nothing is ever changed.
A part that another one replaces stays for a day and is passed over; a reader that finds one gone lists again.
A fact's identity is its request's key (prompting/request.py); where a key stands twice, fact.earliest says which fact
counts, so verdicts never change by themselves.
"""

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from coigw_judge.errors import FixStore
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import ALL, Span
from coigw_judge.storage.paths import list_files, open_filesystem, write_atomic
from coigw_judge.store.fact import LATER, OUTCOME_COLUMNS, SCHEMA, earliest, of_pairs, with_columns

PART_NAME = re.compile(r"(\d{15})-([0-9a-f]{8})-(\d{6,})(?:\.\.(\d{6,}))?\.parquet")
_LISTINGS = 3
_ALWAYS = ("key", "home", "rubric_fingerprint", "judge_fingerprint", "created_at", "cause")


@dataclass(frozen=True, slots=True)
class Part:
    """A file of facts."""

    path: str
    """For the store's `filesystem`."""
    size: int
    """In bytes."""
    span: Span | None = None
    """The homes that a compacted part holds, sorted; None for a loose part, which has no order."""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePosixPath(self.path).name


class Store:
    """A folder of facts, local or at any URI that pyarrow opens."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.filesystem, self._inner = open_filesystem(root)

    def path(self, *names: str) -> str:
        """A path inside the store, for `filesystem`."""
        return "/".join((self._inner.rstrip("/"), *names))

    def parts(self) -> list[Part]:
        """The parts in use: loose ones in order of their names, then compacted ones. Lists each folder once."""
        compactions = self.compactions()
        replaced = {name for compaction in compactions for name in compaction["replaces"]}
        loose = without_rolled_up(self.loose_files())
        compacted = [
            Part(self.path(part["name"]), part["size"], Span(part["low"], part["high"]))
            for compaction in compactions
            for part in compaction["parts"]
            if part["name"] not in replaced
        ]
        return [*(part for part in loose if f"parts/{part.name}" not in replaced), *compacted]

    def loose_files(self) -> list[Part]:
        """All files of parts/ in order of their names, replaced ones included."""
        selector = fs.FileSelector(self.path("parts"), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        files = [info for info in infos if info.type == fs.FileType.File and info.path.endswith(".parquet")]
        return sorted(
            (Part(i.path, i.size) for i in files if not i.base_name.startswith(".")), key=lambda part: part.name
        )

    def compactions(self) -> list[dict[str, Any]]:
        """What each compaction made and replaced, the oldest first."""
        compactions = []
        for path in list_files(self.filesystem, self.path("compactions"), ".json"):
            described = self._read_json(path)
            if described is not None:
                compactions.append({"id": PurePosixPath(path).stem, **described})
        return compactions

    def exists(self) -> bool:
        """Whether the folder holds any part of a store."""
        names = ("parts", "compacted", "scans", "asks")
        infos = self.filesystem.get_file_info([self.path(name) for name in names])
        return any(info.type == fs.FileType.Directory for info in infos)

    def folders(self, name: str) -> list[str]:
        """The names of the folders inside one of the store's folders."""
        selector = fs.FileSelector(self.path(name), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == fs.FileType.Directory)

    def read(
        self,
        columns: Sequence[str] = OUTCOME_COLUMNS,
        *,
        fingerprints: Iterable[tuple[str, str]] | None = None,
        wanted: Span = ALL,
        since: str = "",
        parts: Sequence[Part] | None = None,
        failures_of: str | None = None,
    ) -> pa.Table:
        """Facts, each key once, sorted by key.

        `fingerprints`: (rubric, judge) pairs to keep (None: all). `wanted`: a span of homes to keep. `since`
        (writer.moment): leaves out older parts, and compacted ones, which are always older. `parts`: those to read
        (default: those in use). `failures_of`: a run; failures of others are left out (None: all are kept). Raises
        FixStore for a file that holds no facts.
        """
        pairs = None if fingerprints is None else frozenset(f"{rubric}/{judge}" for rubric, judge in fingerprints)
        needed = columns if failures_of is None else (*columns, "run")
        for _ in range(_LISTINGS):
            chosen = self.parts() if parts is None else parts
            if since:
                chosen = [part for part in chosen if part.span is None and part.name >= since]
            try:
                tables = [self.read_part(part, needed, pairs, wanted) for part in chosen]
            except FileNotFoundError as error:  # replaced, and deleted since the listing
                gone = error
                continue
            empty = pa.schema([SCHEMA.field(name) for name in dict.fromkeys((*needed, *_ALWAYS))]).empty_table()
            table = pa.concat_tables([empty, *tables])
            if failures_of is not None:
                table = table.filter(pc.or_(pc.is_null(table["cause"]), pc.equal(table["run"], failures_of)))
            return earliest(table).select(list(columns))
        raise FixStore(f"{self.root}: its parts vanish while they are read ({gone}); who deletes them?")

    def read_part(
        self, part: Part, columns: Sequence[str], pairs: frozenset[str] | None = None, wanted: Span = ALL
    ) -> pa.Table:
        """A part's facts, with the columns that say which count (_ALWAYS). Raises FixStore, FileNotFoundError."""
        names = list(dict.fromkeys((*columns, *_ALWAYS)))
        if part.span is not None and (part.span.low >= wanted.high or part.span.high <= wanted.low):
            return pa.schema([SCHEMA.field(name) for name in names]).empty_table()
        try:
            if part.span is not None:
                table = hash_ranges.read_span(self.filesystem, part.path, "home", wanted, names)
            else:
                with pq.ParquetFile(self.filesystem.open_input_file(part.path)) as file:
                    table = file.read(columns=names)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowInvalid) as error:
            raise no_part(part.path, " ".join(str(error).split())) from error
        trouble = foreign(table.schema, names)
        if trouble:
            raise no_part(part.path, trouble)
        return hash_ranges.within(of_pairs(with_columns(table, names), pairs), "home", wanted)

    def write_asks(self, configuration: str, asks: Mapping[str, Any]) -> None:
        """Keep a configuration's ask fingerprints."""
        data = json.dumps(asks, ensure_ascii=False, indent=1, sort_keys=True).encode()
        write_atomic(self.filesystem, self.path("asks", f"{configuration}.json"), data)

    def read_asks(self, configuration: str) -> dict[str, Any] | None:
        """The ask fingerprints kept for a configuration; None where it never ran."""
        return self._read_json(self.path("asks", f"{configuration}.json"))

    def all_asks(self) -> list[dict[str, Any]]:
        """The ask fingerprints of all configurations that ever ran."""
        paths = list_files(self.filesystem, self.path("asks"), ".json")
        return [asks for path in paths if (asks := self._read_json(path)) is not None]

    def _read_json(self, path: str) -> dict[str, Any] | None:
        try:
            with self.filesystem.open_input_stream(path) as stream:
                content: dict[str, Any] = json.loads(stream.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise FixStore(f"{path}: is not JSON ({error}); delete it, what it says can be found out again") from error
        return content

    def place_token(self) -> str:
        """Write a token that every judge actor must be able to read: one store for all nodes."""
        token = secrets.token_hex(8)
        write_atomic(self.filesystem, self.path("tokens", token), token.encode())
        return token

    def sees_token(self, token: str) -> bool:
        """Whether this process sees the store into which the driver wrote `token`."""
        try:
            with self.filesystem.open_input_stream(self.path("tokens", token)) as stream:
                return bool(stream.read().decode() == token)
        except FileNotFoundError:
            return False

    def clear(self, folder: str) -> None:
        """Delete a folder of work, if it is there."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_dir(folder)

    def drop_token(self, token: str) -> None:
        """Delete the token."""
        self.filesystem.delete_file(self.path("tokens", token))


def without_rolled_up(parts: Sequence[Part]) -> list[Part]:
    """Loose parts without those that were rolled up into a later part of the same writer (writer.py)."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    numbered = []
    for part in parts:
        match = PART_NAME.fullmatch(part.name)
        if match is None:
            numbered.append((part, "", 0, 0))
            continue
        first, last = int(match[3]), int(match[4] or match[3])
        numbered.append((part, match[2], first, last))
        if match[4]:
            ranges.setdefault(match[2], []).append((first, last))
    return [
        part
        for part, writer, first, last in numbered
        if not any(a <= first and last <= b and (a, b) != (first, last) for a, b in ranges.get(writer, ()))
    ]


def foreign(schema: pa.Schema, wanted: Sequence[str] = SCHEMA.names) -> str:
    """Why a file with this schema has no facts with the wanted columns, or an empty string."""
    for field in schema:
        if field.name not in SCHEMA.names:
            return f"{field.name} is no column of a fact"
        if field.type != SCHEMA.field(field.name).type:
            return f"{field.name} is {field.type}, not {SCHEMA.field(field.name).type}"
    missing = [name for name in wanted if name not in (*schema.names, *LATER)]
    return f"it lacks {', '.join(missing)}" if missing else ""


def no_part(part: str, reason: str) -> FixStore:
    """The error for a file that holds no facts."""
    return FixStore(f"{part}: is not a readable part of a store ({reason}); move it away and run again")
