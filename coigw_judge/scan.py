"""Scan: the whole input, without a judge. From here on the totals are known.

    <store>/work/scan-<random>/00000.parquet   the rows of one split, while the scan lasts
    <store>/scans/<digest>/00000.parquet       a row for every input row of some neighbouring splits, ordered by `home`
    <store>/scans/<digest>/scan.json           totals and splits; written last, so where it is the scan is whole

`home` is the answer's digest, as it is for facts, or of a row that is no record a digest of its place: what reads
rows and facts bucket by bucket (spans.py) finds a record's facts and its duplicates in one bucket, and unreadable
rows do not crowd into one. The digest in the path covers the files' names, sizes and times, the column mapping, the
limit and the screens: an unchanged input is scanned once. Texts are not copied; fill reads them again.
Not known here: Ray, rubrics, judges.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge import links, screened, spans
from coigw_judge.errors import CountsDiffer, FixSource
from coigw_judge.hashing import digest as digest_of
from coigw_judge.hashing import fingerprint
from coigw_judge.job import Job
from coigw_judge.paths import open_atomic, write_atomic
from coigw_judge.record import Record, Unreadable, record_digest, to_label, to_record
from coigw_judge.rubric import FIELDS
from coigw_judge.screened import Names
from coigw_judge.screens import ENGAGEMENT, NAMES, Looked, Screens
from coigw_judge.screens.config import Screen
from coigw_judge.source import File, Split, read
from coigw_judge.spans import DIGEST, Numbers, Span
from coigw_judge.store import Store

FORMAT = 3
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
_META = ("published_at", *ENGAGEMENT)

ROWS_PER_FILE = 1_000_000


@dataclass(frozen=True, slots=True)
class Troubled:
    """A file most of whose rows are unreadable for one and the same reason: another encoding, say."""

    name: str
    rows: int
    unreadable: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """A finished scan: totals, and where its rows are. `kinds` counts records by the fields they have.

    `screens` has for every screen that hit how many rows it `dropped` (a row counts once, for the first) and `flagged`.
    """

    digest: str
    splits: tuple[Split, ...]
    rows: tuple[int, ...]
    files: int
    kinds: dict[str, int]
    unreadable: int
    screened: int
    duplicates: int
    screens: dict[str, dict[str, int]]
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
    splits = tuple(Split(**piece) for piece in raw.pop("splits"))
    worst = tuple(Troubled(**file) for file in raw.pop("troubled"))
    return Scan(splits=splits, rows=tuple(raw.pop("rows")), troubled=worst, **raw)


def scan_split(
    store: Store, work: str, number: int, piece: Split, columns: dict[str, str], limit: int | None, screen: Screen
) -> dict[str, Any]:
    """Scan one split and write its rows into the folder `work`, and where rows are compared what they are known by.

    Returns counts: rows, kinds, unreadable, keys, and `reasons`, the commonest why rows are unreadable.
    """
    cluster = screen.cluster_column
    wanted = [columns.get(name, name) for name in ("id", "genre", *_META, *FIELDS)] + ([cluster] if cluster else [])
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    screens, keys = Screens(screen), links.Keys(screen) if screen.links else None
    count = 0
    path = f"{work}/{number:05d}.parquet"
    with open_atomic(store.filesystem, path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for position, raw in read(piece, wanted):
            if limit is not None and count >= limit:
                break
            row: dict[str, Any] = {"split": number, "row": count, "position": position}
            record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
            if isinstance(record, Unreadable):
                name = piece.name.encode("utf-8", "surrogateescape")
                row |= {"id": record.id, "unreadable": record.reason, "home": digest_of([name, str(position).encode()])}
                reasons[record.reason] += 1
            else:
                assert not isinstance(raw, Unreadable)
                row |= _row(record, screens.look(record, raw, columns), screens)
                kinds["+".join(record.texts)] += 1
                if keys is not None:
                    keys.add(record, screened.known_by(row, screens), to_label(raw.get(cluster)) if cluster else None)
            rows.append(row)
            count += 1
            if len(rows) >= 10_000:
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    counts = {
        "number": number,
        "rows": count,
        "kinds": dict(kinds),
        "keys": 0 if keys is None else keys.write(store, work, number),
    }
    return counts | {"unreadable": reasons.total(), "reasons": dict(reasons.most_common(_REASONS))}


def _row(record: Record, looked: Looked, screens: Screens) -> dict[str, Any]:
    digests = record.digests()
    return {
        "home": digests["answer"],
        "id": record.id,
        "record": record_digest(digests),
        **{str(field): value for field, value in digests.items()},
        "genre": record.genre,
        **screened.columns(looked.findings, looked.suspected, screens),
        "suspected": looked.suspected,
        "published": looked.published,
        "ttr": looked.ttr,
        "mattr": looked.mattr,
        "chars": record.chars,
    }


def file_groups(rows: list[int], most: int | None = None) -> list[range]:
    """Which splits (numbers) are gathered into one file of rows: neighbours, ROWS_PER_FILE rows (or `most`) in all."""
    most = ROWS_PER_FILE if most is None else most
    groups, start, size = [], 0, 0
    for number, count in enumerate(rows):
        size += count
        if size >= most or number == len(rows) - 1:
            groups.append(range(start, number + 1))
            start, size = number + 1, 0
    return groups


def gather(
    store: Store, digest: str, number: int, work: str, splits: Sequence[int], screen: Screen, names: Names | None
) -> dict[str, int]:
    """Put the rows of some splits, which scan_split wrote into `work`, into one file, in order of `home`.

    `names` says how what links.py found is called, where rows were compared. Returns `<screen>.dropped` and `.flagged`.
    """
    tables = [pq.read_table(store.filesystem.open_input_file(f"{work}/{n:05d}.parquet")) for n in splits]
    table = pa.concat_tables(tables)
    screens = Screens(screen)
    if names is not None:
        table = screened.told(table, links.told(store, work, splits), screens, names)
    with spans.sorted_file(store.filesystem, _path(store, digest, number), SCHEMA) as file:
        file.append(spans.sort(table, "home"))
    return screened.hits(table, screens)


def count_duplicates(store: Store, digest: str, files: int, wanted: Span) -> int:
    """Records of a span whose texts stood before."""
    rows = _read_rows(store, digest, files, wanted, ["record"])
    _, new = spans.runs(spans.as_bytes(rows["record"].drop_null()))
    return int(np.count_nonzero(~new))


def finish(
    store: Store,
    digest: str,
    splits: list[Split],
    counts: list[dict[str, Any]],
    gathered: list[dict[str, int]],
    duplicates: int,
) -> Scan:
    """Write scan.json. `counts` are scan_split's, in any order; `gathered` are gather's, one per file of rows."""
    ordered = sorted(counts, key=lambda count: int(count["number"]))
    kinds: Counter[str] = Counter()
    for count in ordered:
        kinds.update(count["kinds"])
    scan = Scan(
        digest=digest,
        splits=tuple(splits),
        rows=tuple(int(count["rows"]) for count in ordered),
        files=len(gathered),
        kinds=dict(kinds),
        unreadable=sum(int(count["unreadable"]) for count in ordered),
        screened=sum(n for each in gathered for name, n in each.items() if name.endswith(".dropped")),
        duplicates=duplicates,
        screens=_by_screen(gathered),
        troubled=_troubled_files(splits, ordered),
    )
    described: dict[str, Any] = {"splits": [piece.as_dict() for piece in splits], "rows": list(scan.rows)}
    for name in ("digest", "files", "kinds", "unreadable", "screened", "duplicates", "screens"):
        described[name] = getattr(scan, name)
    described["troubled"] = [asdict(file) for file in scan.troubled]
    data = json.dumps(described, ensure_ascii=False).encode()
    write_atomic(store.filesystem, store.path("scans", digest, "scan.json"), data)
    return scan


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
    for piece, count in zip(splits, counts, strict=True):
        rows[piece.name] += count["rows"]
        if count["reasons"]:
            reasons.setdefault(piece.name, Counter()).update(count["reasons"])
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
    tables = [spans.read_span(store.filesystem, path, "home", wanted, columns) for path in paths]
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
    for row, (_, raw) in enumerate(read(piece, wanted)):
        if row >= count:
            return
        seen += 1
        if rows is not None and row not in rows:
            continue
        record = raw if isinstance(raw, Unreadable) else to_record(raw, columns)
        if isinstance(record, Record):
            yield row, record
    if seen < count:
        raise FixSource(f"{piece.name}: has changed since it was scanned ({count} rows then, {seen} now); run again")


def check_total(scan: Scan, decided: int) -> None:
    """Raise CountsDiffer unless every input row was decided once."""
    if scan.rows_in != decided:
        raise CountsDiffer(f"{scan.rows_in} rows came in and {decided} were decided; do not use this run's output")


def _path(store: Store, digest: str, number: int) -> str:
    return store.path("scans", digest, f"{number:05d}.parquet")
