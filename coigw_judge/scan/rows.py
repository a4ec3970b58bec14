"""Scan: the whole input, without a judge. From here on the totals are known.

    <store>/work/scan-<random>/00000.parquet   the rows that one task scanned, while the scan lasts
    <store>/scans/<digest>/00000.parquet       a row for every input row of some neighbouring splits, ordered by `home`
    <store>/scans/<digest>/splits.parquet      the splits and how many rows each has
    <store>/scans/<digest>/scan.json           totals; written last, so where it is the scan is whole

`home` is the answer's digest, as it is for facts, or of a row that is no record a digest of its place: what reads
rows and facts bucket by bucket (hash_ranges.py) finds a record's facts and its duplicates in one bucket, and unreadable
rows do not crowd into one. The digest in the path covers the files' names, sizes and times, the column mapping, the
limit and the screens: an unchanged input is scanned once. Texts are not copied; fill reads them again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coigw_judge.errors import CountsDiffer, FixSource
from coigw_judge.hashing import digest as digest_of
from coigw_judge.hashing import fingerprint
from coigw_judge.input.listing import File, Split
from coigw_judge.input.splits import read_split, row_id
from coigw_judge.job.job import Job
from coigw_judge.records.record import FIELDS, Record, Unreadable, record_digest, to_label, to_record
from coigw_judge.scan import copies, screening
from coigw_judge.scan.screening import Names
from coigw_judge.screens.all_screens import ENGAGEMENT, NAMES, Looked, Screens
from coigw_judge.screens.config import Screen
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import DIGEST, Numbers, Span
from coigw_judge.storage.paths import open_atomic, write_atomic
from coigw_judge.store.parts import Store

FORMAT = 4
_LABELS = ("source", "region")
"""What is only counted by: kept as the input has it."""

SCHEMA = pa.schema(
    [
        ("home", DIGEST),
        ("split", pa.int32()),
        ("row", pa.int64()),
        ("position", pa.int64()),
        ("id", pa.string()),
        ("record", DIGEST),
        *((field, DIGEST) for field in FIELDS),
        ("genre", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("screens", pa.list_(pa.string())),
        ("suspected", pa.string()),
        ("published", pa.date32()),
        *((name, pa.string()) for name in _LABELS),
        ("ttr", pa.float32()),
        ("mattr", pa.float32()),
        ("chars", pa.int64()),
        ("unreadable", pa.string()),
        ("screened", pa.string()),
        ("screened_by", pa.string()),
    ]
)
"""A scanned row: its split and number there, digests of record and fields (null: absent), or why it is no record.

`suspected` is what in it addresses the judge; `screens` a sentence for each screen that it hits, `screened` that of the
screen which drops it, `screened_by`; `published` its own day, not that of an earlier copy.
"""

_REASONS = 3
_META = ("published_at", *_LABELS, *ENGAGEMENT)

ROWS_PER_FILE = 1_000_000
_SPLITS = "splits.parquet"


@dataclass(frozen=True, slots=True)
class Troubled:
    """A file most of whose rows are unreadable for one and the same reason: another encoding, say."""

    name: str
    rows: int
    unreadable: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """A finished scan: totals, and where its rows are."""

    digest: str
    """What it depends on (scan_digest); the name of its folder in the store."""
    splits: tuple[Split, ...]
    rows: tuple[int, ...]
    """Per split, the rows that were scanned."""
    files: int
    """How many files of the store hold its rows."""
    kinds: dict[str, int]
    """Records by the fields they have, joined by `+`."""
    unreadable: int
    screened: int
    """Rows that screens drop."""
    duplicates: int
    screens: dict[str, dict[str, int]]
    """By screen, the rows `dropped` (each counts once, for the first screen) and `flagged`."""
    troubled: tuple[Troubled, ...] = ()

    @property
    def rows_in(self) -> int:
        """All input rows."""
        return sum(self.rows)

    def applicable(self, reads: Iterable[str]) -> int:
        """How many records (duplicates included) have all of these fields."""
        wanted = set(reads)
        return sum(count for kind, count in self.kinds.items() if wanted <= set(kind.split("+")))


def scan_digest(job: Job, files: list[File], excluded: Sequence[File] = ()) -> str:
    """What a scan depends on."""
    listed = [[[f.path, f.name, f.size, f.mtime_ns] for f in some] for some in (files, excluded)]
    screen = job.screen.model_dump(mode="json")
    return fingerprint([FORMAT, listed, job.input.model_dump(exclude={"paths"}), job.limit, screen])


def load(store: Store, digest: str) -> Scan | None:
    """A finished scan, or None."""
    try:
        with store.filesystem.open_input_stream(store.path("scans", digest, "scan.json")) as stream:
            raw = json.loads(stream.read())
    except FileNotFoundError:
        return None
    with pq.ParquetFile(store.filesystem.open_input_file(store.path("scans", digest, _SPLITS))) as file:
        table = file.read()
    rows = tuple(table["rows"].to_pylist())
    splits = tuple(Split(**piece) for piece in table.drop_columns("rows").to_pylist())
    worst = tuple(Troubled(**file) for file in raw.pop("troubled"))
    return Scan(splits=splits, rows=rows, troubled=worst, **raw)


def scan_splits(
    store: Store,
    work: str,
    number: int,
    pieces: Iterable[tuple[int, Split]],
    columns: dict[str, str],
    limit: int | None,
    screen: Screen,
) -> dict[str, Any]:
    """Scan some neighbouring splits, up to `limit` rows, and write the rows into one file of the folder `work`; where
    rows are compared also what they are known by.

    `pieces` are the splits with their numbers; `number` is the file's. Returns counts: `rows` of each split, kinds,
    unreadable, keys, and `reasons`: of splits that have some, the commonest why rows are unreadable.
    """
    kinds: Counter[str] = Counter()
    rows: list[int] = []
    reasons: dict[str, Counter[str]] = {}
    held: list[dict[str, Any]] = []
    look = _Look(columns, screen)
    path = f"{work}/{number:05d}.parquet"
    with open_atomic(store.filesystem, path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for split, piece in pieces:
            left = None if limit is None else limit - sum(rows)
            if left is not None and left <= 0:
                break
            rows.append(0)
            for record, row in look.rows(split, piece, left):
                held.append(row)
                rows[-1] += 1
                if isinstance(record, Record):
                    kinds["+".join(record.texts)] += 1
                else:
                    reasons.setdefault(str(split), Counter())[record.reason] += 1
                if len(held) >= 10_000:
                    writer.write_table(pa.Table.from_pylist(held, schema=SCHEMA))
                    held.clear()
        writer.write_table(pa.Table.from_pylist(held, schema=SCHEMA))
    counts = {"number": number, "rows": rows, "kinds": dict(kinds)}
    return counts | {
        "keys": 0 if look.keys is None else look.keys.write(store, work, number),
        "unreadable": sum(why.total() for why in reasons.values()),
        "reasons": {split: dict(why.most_common(_REASONS)) for split, why in reasons.items()},
    }


class _Look:
    """Looks at the rows of splits: what a scan keeps of each, and in `keys` what it can be recognised by."""

    def __init__(self, columns: dict[str, str], screen: Screen) -> None:
        self._columns = columns
        self._cluster = screen.cluster_column
        self._screens = Screens(screen)
        self.keys = copies.Keys(screen) if screen.links else None

    def rows(
        self, number: int, piece: Split, limit: int | None
    ) -> Iterator[tuple[Record | Unreadable, dict[str, Any]]]:
        """The records of a split, and the rows in which a scan keeps them."""
        wanted = [self._columns.get(name, name) for name in ("id", "genre", *_META, *FIELDS)]
        wanted += [self._cluster] if self._cluster else []
        for count, (position, raw) in enumerate(islice(read_split(piece, wanted), limit)):
            record = raw if isinstance(raw, Unreadable) else to_record(raw, self._columns)
            row: dict[str, Any] = {"split": number, "row": count, "position": position}
            if isinstance(record, Unreadable):
                name = piece.name.encode("utf-8", "surrogateescape")
                home = digest_of([name, str(position).encode()])
                row |= {"id": record.id, "unreadable": record.reason, "home": home}
            else:
                assert not isinstance(raw, Unreadable)
                row |= _row(record, self._screens.look(record, raw, self._columns), self._screens)
                row |= {name: to_label(raw.get(self._columns.get(name, name))) for name in _LABELS}
                if self.keys is not None:
                    cluster = to_label(raw.get(self._cluster)) if self._cluster else None
                    self.keys.add(record, screening.key_row(row, self._screens), cluster)
            yield record, row


def _row(record: Record, looked: Looked, screens: Screens) -> dict[str, Any]:
    digests = record.digests()
    return {
        "home": digests["answer"],
        "id": record.id,
        "record": record_digest(digests),
        **{str(field): value for field, value in digests.items()},
        "genre": record.genre,
        **screening.columns(looked.findings, looked.suspected, screens),
        "suspected": looked.suspected,
        "published": looked.published,
        "ttr": looked.ttr,
        "mattr": looked.mattr,
        "chars": record.chars,
    }


def file_groups(rows: list[int], most: int = ROWS_PER_FILE) -> list[range]:
    """Which tasks' rows (numbers) are gathered into one file: neighbours, `most` rows in all."""
    groups, start, size = [], 0, 0
    for number, count in enumerate(rows):
        size += count
        if size >= most or number == len(rows) - 1:
            groups.append(range(start, number + 1))
            start, size = number + 1, 0
    return groups


def gather(
    store: Store, digest: str, number: int, work: str, tasks: Iterable[int], screen: Screen, names: Names | None
) -> dict[str, int]:
    """Put the rows that some tasks wrote into `work` into one file, in order of `home`.

    `names`: how what copies.py found is called, where rows were compared. Returns `<screen>.dropped` and `.flagged`.
    """
    tables = [pq.read_table(store.filesystem.open_input_file(f"{work}/{n:05d}.parquet")) for n in tasks]
    table = pa.concat_tables(tables)
    screens = Screens(screen)
    if names is not None and table.num_rows:
        numbers = pc.min_max(table["split"]).as_py()
        splits = range(numbers["min"], numbers["max"] + 1)
        table = screening.with_copies(table, copies.read_clusters(store, work, splits), screens, names)
    with hash_ranges.sorted_file(store.filesystem, _path(store, digest, number), SCHEMA) as file:
        file.append(hash_ranges.sort(table, "home"))
    return screening.hits(table, screens)


def count_duplicates(store: Store, digest: str, files: int, wanted: Span) -> int:
    """Records of a span whose texts stood before."""
    rows = _read_rows(store, digest, files, wanted, ["record"])
    _, new = hash_ranges.runs(hash_ranges.as_bytes(rows["record"].drop_null()))
    return int(np.count_nonzero(~new))


def finish(
    store: Store,
    digest: str,
    splits: list[Split],
    counts: list[dict[str, Any]],
    gathered: list[dict[str, int]],
    duplicates: int,
) -> Scan:
    """Write the totals of a scan. `counts`: of scan_splits, in any order; `gathered`: of gather, one per file."""
    ordered = sorted(counts, key=lambda count: int(count["number"]))
    kinds: Counter[str] = Counter()
    for count in ordered:
        kinds.update(count["kinds"])
    scan = Scan(
        digest=digest,
        splits=tuple(splits),
        rows=tuple(int(rows) for count in ordered for rows in count["rows"]),
        files=len(gathered),
        kinds=dict(kinds),
        unreadable=sum(int(count["unreadable"]) for count in ordered),
        screened=sum(n for each in gathered for name, n in each.items() if name.endswith(".dropped")),
        duplicates=duplicates,
        screens=_by_screen(gathered),
        troubled=_troubled_files(splits, ordered),
    )
    _write_splits(store, scan)
    plain = ("digest", "files", "kinds", "unreadable", "screened", "duplicates", "screens")
    described = {name: getattr(scan, name) for name in plain}
    described["troubled"] = [asdict(file) for file in scan.troubled]
    data = json.dumps(described, ensure_ascii=False).encode()
    write_atomic(store.filesystem, store.path("scans", digest, "scan.json"), data)
    return scan


def _write_splits(store: Store, scan: Scan) -> None:
    """A million small files are a million splits: in columns their paths take a few bytes each."""
    values = {each.name: [getattr(piece, each.name) for piece in scan.splits] for each in fields(Split)}
    types = {"start": pa.int64(), "stop": pa.int64(), "first": pa.int64(), "size": pa.int64()}
    columns = {name: pa.array(column, types.get(name, pa.string())) for name, column in values.items()}
    columns["rows"] = pa.array(scan.rows, pa.int64())
    with open_atomic(store.filesystem, store.path("scans", scan.digest, _SPLITS)) as file:
        pq.write_table(pa.table(columns), file, compression="zstd")


def _by_screen(gathered: list[dict[str, int]]) -> dict[str, dict[str, int]]:
    total: Counter[str] = Counter()
    for each in gathered:
        total.update(each)
    hit = [name for name in NAMES if total[f"{name}.dropped"] or total[f"{name}.flagged"]]
    return {name: {what: total[f"{name}.{what}"] for what in ("dropped", "flagged")} for name in hit}


def _troubled_files(splits: list[Split], counts: list[dict[str, Any]]) -> tuple[Troubled, ...]:
    """Files most of whose rows share a trouble, the worst first."""
    rows: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {}
    for piece, number in zip(splits, (number for count in counts for number in count["rows"]), strict=True):
        rows[piece.name] += number
    for split, why in (each for count in counts for each in count["reasons"].items()):
        reasons.setdefault(splits[int(split)].name, Counter()).update(why)
    found = [file for name, why in reasons.items() for file in troubled(name, rows[name], why)]
    return tuple(sorted(found, key=lambda file: -file.unreadable))


def troubled(name: str, rows: int, reasons: Counter[str]) -> list[Troubled]:
    """The file with the reason that most of its rows share; nothing where there is none."""
    return [Troubled(name, rows, count, why) for why, count in reasons.most_common(1) if 2 * count > rows]


def read_rows(store: Store, scan: Scan, wanted: Span, columns: list[str] | None = None) -> pa.Table:
    """The scanned rows whose home is in a span, in input order."""
    table = _read_rows(store, scan.digest, scan.files, wanted, columns)
    order: Numbers = np.lexsort((table["row"].to_numpy(), table["split"].to_numpy()))
    return table.take(pa.array(order)).combine_chunks()


def _read_rows(store: Store, digest: str, files: int, wanted: Span, columns: list[str] | None) -> pa.Table:
    paths = [_path(store, digest, number) for number in range(files)]
    tables = [hash_ranges.read_span(store.filesystem, path, "home", wanted, columns) for path in paths]
    if tables:
        return pa.concat_tables(tables)
    return SCHEMA.empty_table() if columns is None else SCHEMA.empty_table().select(columns)


def records(scan: Scan, number: int, columns: dict[str, str], rows: set[int] | None) -> Iterator[tuple[int, Record]]:
    """The records of a split with their row numbers, texts included; `rows` limits which.

    Raises FixSource where the file no longer has the rows that were scanned.
    """
    piece, count = scan.splits[number], scan.rows[number]
    wanted = [columns.get(name, name) for name in ("id", "genre", *FIELDS)]
    seen = 0
    for row, (position, raw) in enumerate(read_split(piece, wanted)):
        if row >= count:
            return
        seen += 1
        if rows is not None and row not in rows:
            continue
        record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
        if isinstance(record, Record):
            yield row, replace(record, row_id=row_id(piece.name, position))
    if seen < count:
        raise FixSource(f"{piece.name}: has changed since it was scanned ({count} rows then, {seen} now); run again")


def check_total(scan: Scan, decided: int) -> None:
    """Raise CountsDiffer unless every input row was decided once."""
    if scan.rows_in != decided:
        raise CountsDiffer(f"{scan.rows_in} rows came in and {decided} were decided; do not use this run's output")


def _path(store: Store, digest: str, number: int) -> str:
    return store.path("scans", digest, f"{number:05d}.parquet")
