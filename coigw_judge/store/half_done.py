"""The facts of half-done records, which a fill looks up without holding them in memory.

The survey writes, per bucket of records, the facts of those that still need something, sorted by key and
uncompressed (`write_half_done`). An actor maps these files into memory and bisects: only the pages that it looks at
are read. The facts that were written since the fill began are few, and held in memory; only a restarted actor has
some.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import fs

from coigw_judge.replies.outcome import Scored, Unscored, from_values
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.paths import open_atomic
from coigw_judge.store.fact import DECIDING_COLUMNS, SCHEMA, outcomes
from coigw_judge.store.key_index import ABSENT, KeyIndex

_SCHEMA = pa.schema(
    [("high", pa.uint64()), ("low", pa.uint64()), *(SCHEMA.field(name) for name in DECIDING_COLUMNS if name != "key")]
)


def write_half_done(filesystem: fs.FileSystem, folder: str, bucket: int, facts: pa.Table) -> None:
    """Write the facts (DECIDING_COLUMNS, sorted by key, each key once) of a bucket's half-done records."""
    high, low = hash_ranges.halves(hash_ranges.as_bytes(facts["key"]))
    columns = [pa.array(high), pa.array(low), *(facts[field.name] for field in list(_SCHEMA)[2:])]
    table = pa.table(columns, schema=_SCHEMA).combine_chunks()
    with (
        open_atomic(filesystem, f"{folder}/known-{bucket:05d}.arrow") as file,
        pa.ipc.new_file(file, _SCHEMA) as writer,
    ):
        writer.write_table(table, max_chunksize=max(1, table.num_rows))


class HalfDoneFacts:
    """Facts by key: those of `recent` (at least DECIDING_COLUMNS), and those that write_half_done left in a folder."""

    def __init__(
        self, recent: pa.Table, filesystem: fs.FileSystem | None = None, folder: str | None = None, buckets: int = 1
    ) -> None:
        self._recent = outcomes(recent)
        self._filesystem = filesystem
        self._folder = folder
        self._buckets = buckets
        self._mapped: dict[int, tuple[KeyIndex, pa.Table] | None] = {}
        self._copies: tempfile.TemporaryDirectory[str] | None = None

    def find(self, home: bytes, keys: Sequence[bytes]) -> dict[bytes, Scored | Unscored]:
        """The facts of some requests of a record, by key. `home` is the digest of its answer."""
        facts_by_key = {key: self._recent[key] for key in keys if key in self._recent}
        mapped = self._bucket(int.from_bytes(home[:4], "big") * self._buckets >> 32)
        if mapped is None or not keys:
            return facts_by_key
        index, facts = mapped
        high, low = hash_ranges.halves(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16))
        for key, at in zip(keys, index.find(high, low).tolist(), strict=True):
            if at != ABSENT and not isinstance(facts_by_key.get(key), Scored):
                facts_by_key[key] = from_values(facts.slice(at, 1).to_pylist()[0])
        return facts_by_key

    def _bucket(self, bucket: int) -> tuple[KeyIndex, pa.Table] | None:
        if self._folder is None or self._filesystem is None:
            return None
        if bucket not in self._mapped:
            self._mapped[bucket] = self._open(f"{self._folder}/known-{bucket:05d}.arrow", self._filesystem)
        return self._mapped[bucket]

    def _open(self, path: str, filesystem: fs.FileSystem) -> tuple[KeyIndex, pa.Table] | None:
        if filesystem.get_file_info(path).type != fs.FileType.File:
            return None
        if not isinstance(filesystem, fs.LocalFileSystem):
            path = self._copy(path, filesystem)
        table = pa.ipc.open_file(pa.memory_map(path)).read_all()
        if not table.num_rows:
            return None
        high, low = (table[name].combine_chunks().to_numpy(zero_copy_only=True) for name in ("high", "low"))
        return KeyIndex(high, low), table

    def _copy(self, path: str, filesystem: fs.FileSystem) -> str:
        """A local copy: only a local file can be mapped."""
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="coigw-known-")
        target = Path(self._copies.name) / Path(path).name
        with filesystem.open_input_stream(path) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        return str(target)
