"""Which files are the input: patterns, folders and URIs, listed once, in a steady order, each file under one name.

A folder stands for every file of a known format in it and below. Left out of it is what other programs leave behind:
hidden files and folders, folders that begin with an underscore (`_temporary`, `_delta_log`). Links are followed, and
what two links lead to is read once. A file that cannot be read as a whole says so in `trouble`; it becomes a row.
"""

import errno
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pyarrow import fs

from coigw_judge.errors import FixSource
from coigw_judge.input.encoding import UTF_8
from coigw_judge.records.record import Unreadable
from coigw_judge.storage.paths import can_not_reach, check_reach, is_uri, open_filesystem, resolve

FORMATS = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".jsonl.zst": "jsonl",
    ".ndjson": "jsonl", ".csv": "csv", ".csv.gz": "csv", ".csv.zst": "csv",
}  # fmt: skip
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}

Row = dict[str, Any] | Unreadable


@dataclass(frozen=True, slots=True)
class File:
    """An input file."""

    path: str
    """Where it is, resolved."""
    name: str
    """Its path as the job writes it; the first part of a row_id."""
    format: str
    compression: str | None
    size: int
    """In bytes."""
    mtime_ns: int
    encoding: str = UTF_8
    """Of a text file without a byte order mark."""
    trouble: str = ""
    """Why nothing of it can be read; empty where it can."""


@dataclass(frozen=True, slots=True)
class Split:
    """A piece of a file that one task reads; path, name, format, compression and encoding as in File."""

    path: str
    name: str
    format: str
    compression: str | None
    start: int
    """The first byte of JSONL, the first row group of Parquet."""
    stop: int
    """The byte or row group after the last."""
    first: int = 0
    """The number of its first row, where rows are numbered (Parquet)."""
    encoding: str = UTF_8
    trouble: str = ""
    """Why the file cannot be read: then it is one split with one row, which is unreadable."""
    size: int = 0
    """About how many bytes of the file it is."""

    def as_dict(self) -> dict[str, Any]:
        """The split as plain values, to travel between processes."""
        return asdict(self)


def list_input_files(patterns: list[str], base: Path, encoding: str = UTF_8) -> list[File]:
    """All input files in listing order: patterns as given, each one's matches sorted. One listing per pattern.

    A pattern is a path, a glob, or a folder (every file of a known format in it). `encoding` is that of text files
    without a byte order mark. Raises FixSource where a pattern matches nothing, or a file named outright is of no
    known format.
    """
    found: dict[str, File] = {}
    for pattern in patterns:
        matches = _match_uri(pattern, encoding) if is_uri(pattern) else _match_local(pattern, base, encoding)
        if not matches:
            raise FixSource(f"input.paths: {pattern}: no such file or match (looked in {base}); correct the path")
        for file in matches:
            found.setdefault(file.path if is_uri(file.path) else os.path.realpath(file.path), file)
    return list(found.values())


def stray_files(patterns: list[str], base: Path) -> list[str]:
    """Files in the local folders among `patterns` that are passed over because their names tell no known format."""
    folders = [Path(resolve(pattern, base)) for pattern in patterns if not is_uri(pattern)]
    below = (path for folder in folders if folder.is_dir() for path in _walk(folder))
    return sorted(str(path) for path in below if not file_format(path.name))


def file_format(name: str) -> str | None:
    """The format by file name, or None."""
    return next((kind for suffix, kind in FORMATS.items() if name.lower().endswith(suffix)), None)


def read_through(path: str, name: str) -> None:
    """Read a file's own bytes. Raises FixSource where that fails: then it is not its content that is to blame."""
    filesystem, inner = open_filesystem(path)
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            while stream.read(8 << 20):
                pass
    except OSError as error:
        raise FixSource(f"{name}: cannot be read ({error}); run again once it can") from error


def _match_local(pattern: str, base: Path, encoding: str) -> list[File]:
    target = Path(resolve(pattern, base))
    if target.is_dir():
        return [
            _local_file(path, f"{pattern.rstrip('/')}/{path.relative_to(target)}", encoding)
            for path in sorted(_walk(target))
            if file_format(path.name)
        ]
    if target.is_file():
        return [_local_file(target, pattern, encoding)]
    files = []
    for match in _matches(os.path.expanduser(pattern), base):
        path = Path(resolve(match, base))
        if not file_format(path.name) or _set_aside(match, pattern):
            continue
        if path.is_dir():  # Spark calls a folder of parts x.parquet
            files += _match_local(match, base, encoding)
        elif path.is_file() or path.is_symlink():
            files.append(_local_file(path, match, encoding))
    return files


def _matches(pattern: str, base: Path) -> list[str]:
    """What a glob finds. `**` is walked here: glob follows links that lead in circles, two of them for ages."""
    parts = pattern.split("/")
    if "**" not in parts:
        return sorted(glob.glob(pattern, root_dir=base))
    deep = parts.index("**")
    before, wanted = "/".join(parts[:deep]), parts[deep:]
    found = []
    for start in sorted(glob.glob(f"{before}/", root_dir=base)) if before else ["/" if deep else ""]:
        folder = Path(resolve(start, base))
        inside = (path.relative_to(folder).parts for path in _walk(folder, wanted))
        found += [start + "/".join(below) for below in inside if _fits_or_lies_in_one(below, wanted)]
    return sorted(found)


def _fits_or_lies_in_one(below: tuple[str, ...], wanted: list[str]) -> bool:
    """Whether the parts of a path fit a pattern, or it lies in a folder of parts that does (x.parquet/)."""
    ends = [n for n, name in enumerate(below, start=1) if n == len(below) or file_format(name)]
    return any(_fits(below[:end], wanted) for end in ends)


def _fits(below: tuple[str, ...], wanted: list[str]) -> bool:
    if not wanted:
        return not below
    if wanted[0] == "**":
        return any(_fits(below[n:], wanted[1:]) for n in range(len(below) + 1))
    return bool(below) and fnmatchcase(below[0], wanted[0]) and _fits(below[1:], wanted[1:])


def _walk(folder: Path, named: Iterable[str] = ()) -> Iterator[Path]:
    """Files and dangling links in a folder and below. Links to folders are followed, each folder is entered once.

    Hidden folders and those of other programs are entered only where they are `named`.
    """
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if name in named or not name.startswith((".", "_")))
        for name in names:
            path = Path(place, name)
            if (name in named or not name.startswith(".")) and (path.is_file() or path.is_symlink()):
                yield path


def _set_aside(match: str, pattern: str) -> bool:
    """Whether a glob came through a folder of another program's, which the pattern does not name itself."""
    named = pattern.split("/")
    return any(part.startswith("_") and part not in named for part in match.split("/")[:-1])


def _local_file(path: Path, name: str, encoding: str) -> File:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        where = os.fsencode(path).decode("utf-8", "backslashreplace")
        return _file(where, shown, 0, 0, encoding, "the name of the file is not UTF-8; rename it")
    try:
        found = path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise FixSource(
                f"input.paths: {name}: cannot be looked at ({error.strerror}); mend it or leave it out"
            ) from error
        return _file(str(path), name, 0, 0, encoding, "the file is a link that leads nowhere")
    return _file(str(path), name, found.st_size, found.st_mtime_ns, encoding)


def _match_uri(pattern: str, encoding: str) -> list[File]:
    """The matches of a URI. One walk lists a folder with the sizes of its files: a request for a thousand of them."""
    scheme, _, rest = pattern.partition("://")
    wanted, mark, query = rest.partition("?")
    wildcard = "*" in wanted
    fixed = f"{scheme}://{wanted.split('*', 1)[0].rsplit('/', 1)[0]}{mark}{query}" if wildcard else pattern
    filesystem, inner = open_filesystem(fixed)
    try:
        info = None if wildcard else filesystem.get_file_info(inner)
        if info is not None and info.type == fs.FileType.File:
            infos = [info]
        else:
            infos = filesystem.get_file_info(fs.FileSelector(inner, recursive=True, allow_not_found=True))
    except OSError as error:
        raise can_not_reach(fixed, "input.paths", FixSource, error) from error
    if not infos:
        check_reach(fixed, "input.paths", FixSource)
    files, parts = [], unquote(wanted).split("/")
    for found in sorted(infos, key=lambda i: i.path):
        if found.type != fs.FileType.File or not file_format(found.path):
            continue
        below = found.path.removeprefix(inner).split("/")
        if (info is None or infos != [info]) and _passed_over(below):
            continue
        if not wildcard or _fits_or_lies_in_one(tuple(found.path.split("/")), parts):
            path = f"{scheme}://{quote(found.path)}{mark}{query}"
            files.append(_file(path, f"{scheme}://{found.path}", found.size, found.mtime_ns or 0, encoding))
    return files


def _passed_over(parts: Iterable[str]) -> bool:
    *folders, name = parts
    return name.startswith(".") or any(folder.startswith((".", "_")) for folder in folders)


def _file(path: str, name: str, size: int, mtime_ns: int, encoding: str, trouble: str = "") -> File:
    kind = file_format(name)
    if kind is None:
        raise FixSource(f"input.paths: {name}: format not known by its name; use {', '.join(FORMATS)}")
    compression = next((c for suffix, c in _COMPRESSION.items() if name.lower().endswith(suffix)), None)
    return File(path, name, kind, compression, size, mtime_ns, encoding, trouble)
