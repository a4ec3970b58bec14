"""Local paths and URIs, opened alike through pyarrow's file systems.

Not known here: what the files hold.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from coigw_judge.errors import FixJob, FixStore


def is_uri(path: str) -> bool:
    """Whether `path` names a scheme, such as s3://bucket/key."""
    return "://" in path


def resolve(path: str, base: Path) -> str:
    """A URI as it is; a local path made absolute against `base`."""
    return path if is_uri(path) else str(Path(os.path.normpath(base / Path(path).expanduser())))


def open_filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """The file system that holds `path`, and the path within it. Raises FixJob for a scheme it can not open."""
    if not is_uri(path):
        return fs.LocalFileSystem(), path
    try:
        found, inner = fs.FileSystem.from_uri(path)
    except (OSError, ValueError) as error:
        raise FixJob(f"{path}: can not be opened: {error}") from error
    return found, inner


@contextmanager
def open_atomic(filesystem: fs.FileSystem, path: str) -> Iterator[Any]:
    """A binary file to write that readers see whole, after the `with`, or not at all.

    On a local disk: a temporary name, fsync, rename. On an object store: one upload, which is atomic.
    Raises FixStore where it can not be written, for a full disk above all; nothing is left behind then.
    """
    try:
        with _open(filesystem, path) as file:
            yield file
    except FileNotFoundError:
        raise  # of what is read to be written here
    except OSError as error:
        raise _can_not_write(path, error) from error


@contextmanager
def _open(filesystem: fs.FileSystem, path: str) -> Iterator[Any]:
    if isinstance(filesystem, fs.LocalFileSystem):
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
        return
    stream = filesystem.open_output_stream(path)
    try:
        yield stream
    except BaseException:
        stream.close()  # there is no way to abandon an upload; what it made is taken away again
        filesystem.delete_file(path)
        raise
    stream.close()


def write_atomic(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    """Write a file that readers see whole or not at all. Raises FixStore where that is not possible."""
    with open_atomic(filesystem, path) as file:
        file.write(data)


def make_folder(filesystem: fs.FileSystem, path: str) -> None:
    """Make a folder and those above it, where they are missing. Raises FixStore where that is not possible."""
    try:
        filesystem.create_dir(path, recursive=True)
    except OSError as error:
        raise _can_not_write(path, error) from error


def _can_not_write(path: str, error: OSError) -> FixStore:
    reason = error.strerror or " ".join(str(error).split())
    return FixStore(f"{path}: can not be written ({reason}); make room or mend it, and run again")


def list_files(filesystem: fs.FileSystem, folder: str, suffix: str) -> list[str]:
    """The files directly in `folder` that end in `suffix`, sorted, without hidden ones; [] where it does not exist."""
    selector = fs.FileSelector(folder, allow_not_found=True)
    infos = filesystem.get_file_info(selector)
    files = (info for info in infos if info.type == fs.FileType.File)
    return sorted(info.path for info in files if info.path.endswith(suffix) and not info.base_name.startswith("."))
