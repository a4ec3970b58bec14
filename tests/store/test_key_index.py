"""Spans of digests and the index of keys: every digest in one bucket, every key found where it is."""

import itertools

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import ALL, around, read_span, sorted_file, span
from coigw_judge.store.key_index import ABSENT, KeyIndex

DIGEST = st.binary(min_size=16, max_size=16)


def table(digests: list[bytes]) -> pa.Table:
    return pa.table({"home": pa.array(digests, hash_ranges.DIGEST), "n": pa.array(range(len(digests)), pa.int64())})


@given(st.integers(1, 1000), st.lists(DIGEST, max_size=20))
def test_every_digest_lies_in_exactly_one_span(buckets: int, digests: list[bytes]) -> None:
    pieces = [span(n, buckets) for n in range(buckets)]
    assert (pieces[0].low, pieces[-1].high) == (ALL.low, ALL.high)
    assert all(one.high == other.low for one, other in itertools.pairwise(pieces))
    for digest in digests:
        home = int.from_bytes(digest[:4], "big") * buckets >> 32
        inside = [n for n, piece in enumerate(pieces) if hash_ranges.within(table([digest]), "home", piece).num_rows]
        assert inside == [home], "the bucket that a look-up computes is the one that a reader reads"


@settings(max_examples=30)
@given(st.lists(DIGEST, max_size=40), st.integers(1, 5), st.integers(1, 50))
def test_a_sorted_file_gives_each_span_its_rows(
    tmp_path_factory, digests: list[bytes], buckets: int, group: int
) -> None:
    path = str(tmp_path_factory.mktemp("spans") / "file.parquet")
    local, whole = fs.LocalFileSystem(), hash_ranges.sort(table(digests), "home")
    assert whole["home"].to_pylist() == sorted(digests)
    old, hash_ranges.ROW_GROUP = hash_ranges.ROW_GROUP, group
    try:
        with sorted_file(local, path, whole.schema) as file:
            file.append(whole.slice(0, len(digests) // 2))
            file.append(whole.slice(len(digests) // 2))
    finally:
        hash_ranges.ROW_GROUP = old
    pieces = [read_span(local, path, "home", span(n, buckets)) for n in range(buckets)]
    assert pa.concat_tables(pieces).to_pylist() == whole.to_pylist()
    assert read_span(local, path, "home", ALL, ["n", "gone"]).schema.names == ["n"]
    for digest in digests[:3]:
        assert digest in read_span(local, path, "home", around(digest))["home"].to_pylist()


def test_the_columns_before_it_do_not_hide_the_one_it_is_sorted_by(tmp_path) -> None:
    digests = [bytes([n]) * 16 for n in range(0, 256, 8)]
    maps = pa.array([[("文", 1.0)]] * len(digests), pa.map_(pa.string(), pa.float64()))
    whole = table(digests).add_column(0, "scores", maps).select(["scores", "n", "home"])
    path = str(tmp_path / "file.parquet")
    with sorted_file(fs.LocalFileSystem(), path, whole.schema) as file:
        file.append(whole)
    assert read_span(fs.LocalFileSystem(), path, "home", span(1, 4), ["n"])["n"].to_pylist() == list(range(8, 16))


def test_a_sorted_file_that_was_cut_off_is_not_there(tmp_path) -> None:
    try:
        with sorted_file(fs.LocalFileSystem(), str(tmp_path / "file.parquet"), table([]).schema) as file:
            file.append(table([b"a" * 16]))
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert list(tmp_path.iterdir()) == []


def test_digests_as_hex() -> None:
    digests = pa.chunked_array(
        [pa.array([b"\x00" * 16, None], hash_ranges.DIGEST), pa.array([b"\xab" * 16], hash_ranges.DIGEST)]
    )
    assert hash_ranges.as_hex(digests).to_pylist() == ["00" * 16, None, "ab" * 16]
    assert hash_ranges.as_digests(hash_ranges.as_bytes(pa.array([b"\xab" * 16], hash_ranges.DIGEST))).to_pylist() == [
        b"\xab" * 16
    ]


@given(
    st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4))),
)
def test_keys_that_share_their_first_half_are_told_apart(
    keys: set[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    ordered = sorted(keys)
    index = KeyIndex(*(np.array([key[half] for key in ordered], np.uint64) for half in (0, 1)))
    found = index.find(*(np.array([key[half] for key in wanted], np.uint64) for half in (0, 1)))
    assert found.tolist() == [ordered.index(key) if key in keys else ABSENT for key in wanted]
