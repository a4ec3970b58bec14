"""Local paths and URIs, opened alike through pyarrow's file systems.

A file is written whole or not at all. On a disk: beside, fsync, rename. On an object store: into a temporary file of
this machine and from there up in one go, because closing one of pyarrow's streams completes its upload, whatever was
written so far; there is no way to abandon it.
"""

import mmap
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from coigw_judge.errors import CoigwError, FixJob, FixStore
from coigw_judge.storage.s3 import QUICK_TRIES, TRIES, open_s3

_SECRET = re.compile(
    r"^s3://[^/?]*@|://[^/?@]*:[^/?]*@|[?&][^=&]*(?:key|secret|token|passw|credential|signature)[^=&]*=", re.IGNORECASE
)
_OBJECT_STORES = ("s3", "gcs", "abfs")


def is_uri(path: str) -> bool:
    """Whether `path` names a scheme, such as s3://bucket/key."""
    return "://" in path


def resolve(path: str, base: Path) -> str:
    """A URI as it is; a local path made absolute against `base`."""
    return path if is_uri(path) else str(Path(os.path.normpath(base / Path(path).expanduser())))


def without_query(uri: str) -> str:
    """A path as people are shown it: without what follows a URI's `?`."""
    return uri.partition("?")[0] if is_uri(uri) else uri


def carries_secret(path: str) -> bool:
    """Whether a URI holds what looks like credentials."""
    return is_uri(path) and _SECRET.search(path) is not None


SECRET_IN_URI = (
    "holds credentials, which would end up in manifests and messages; take them out and leave them to the "
    "environment (for s3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
)


def open_filesystem(path: str, *, tries: int = TRIES) -> tuple[fs.FileSystem, str]:
    """The file system that holds `path`, and the path within it. Raises FixJob for a URI that cannot be opened."""
    if not is_uri(path):
        return fs.LocalFileSystem(), path
    scheme = path.partition("://")[0]
    if carries_secret(path):
        raise FixJob(f"a {scheme}:// URI {SECRET_IN_URI}")
    try:
        if scheme == "s3":
            return open_s3(path, tries=tries)
        found, inner = fs.FileSystem.from_uri(path)
    except (OSError, ValueError) as error:
        raise FixJob(f"{without_query(path)}: cannot be opened: {error}") from error
    return found, inner


def check_reach(path: str, key: str, kind: type[CoigwError] = FixStore) -> None:
    """Look whether a URI can be reached at all, with one request or two. Raises `kind`, naming `key`.

    A user with rights to a part of a bucket may not look at the bucket itself; then the path below it decides.
    """
    if not is_uri(path):
        return
    filesystem, inner = open_filesystem(path, tries=QUICK_TRIES)
    try:
        if filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True)):
            return
    except OSError as error:
        raise can_not_reach(path, key, kind, error) from error
    if filesystem.type_name not in _OBJECT_STORES:
        return
    bucket = inner.partition("/")[0]
    try:
        info = filesystem.get_file_info(bucket)
    except OSError:
        return
    if info.type == fs.FileType.NotFound:
        raise kind(f"{key}: {without_query(path)}: there is no bucket {bucket}; correct it, or make the bucket first")


def can_not_reach(path: str, key: str, kind: type[CoigwError], error: OSError) -> CoigwError:
    """The error for a place that the network or the rights keep from us."""
    advice = "check the path, and the credentials and network of this machine"
    if path.startswith("s3://"):
        advice = (
            "check the bucket, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), AWS_REGION, and for a "
            "server that is not AWS the endpoint, AWS_ENDPOINT_URL"
        )
    return kind(f"{key}: {without_query(path)}: cannot be reached ({' '.join(str(error).split())})\n{advice}")


@contextmanager
def open_atomic(filesystem: fs.FileSystem, path: str) -> Iterator[Any]:
    """A binary file to write that readers see whole, after the `with`, or not at all.

    Raises FixStore where it cannot be written, for a full disk above all; nothing is left behind then.
    """
    local = isinstance(filesystem, fs.LocalFileSystem)
    try:
        with _renamed(path) if local else _uploaded(filesystem, path) as file:
            yield file
    except FileNotFoundError:
        raise  # of what is read to be written here
    except OSError as error:
        raise _can_not_write(path, error) from error


@contextmanager
def _renamed(path: str) -> Iterator[Any]:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _uploaded(filesystem: fs.FileSystem, path: str) -> Iterator[Any]:
    """One call writes all there is: nothing in Python can come between two parts of an upload."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.flush()
        size = os.fstat(file.fileno()).st_size
        content = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
        with filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(pa.py_buffer(content))


def write_atomic(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    """Write a file that readers see whole or not at all. Raises FixStore where that is not possible."""
    with open_atomic(filesystem, path) as file:
        file.write(data)


def make_folder(filesystem: fs.FileSystem, path: str) -> None:
    """Make a folder and those above it, where they are missing. Raises FixStore where that is not possible.

    An object store has none; pyarrow would put an empty object in its place.
    """
    if filesystem.type_name in _OBJECT_STORES:
        return
    try:
        filesystem.create_dir(path, recursive=True)
    except OSError as error:
        raise _can_not_write(path, error) from error


def _can_not_write(path: str, error: OSError) -> FixStore:
    reason = error.strerror or " ".join(str(error).split())
    return FixStore(f"{path}: cannot be written ({reason}); make room or mend it, and run again")


def list_files(filesystem: fs.FileSystem, folder: str, suffix: str) -> list[str]:
    """The files directly in `folder` that end in `suffix`, sorted, without hidden ones; [] where it does not exist."""
    selector = fs.FileSelector(folder, allow_not_found=True)
    infos = filesystem.get_file_info(selector)
    files = (info for info in infos if info.type == fs.FileType.File)
    return sorted(info.path for info in files if info.path.endswith(suffix) and not info.base_name.startswith("."))
