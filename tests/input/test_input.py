"""From bytes to rows: every row once, at a stable position, however the file is cut, compressed or torn."""

import csv
import gzip
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coigw_judge.errors import FixSource
from coigw_judge.input import pick, splits
from coigw_judge.input.listing import file_format, list_input_files
from coigw_judge.input.splits import File, Row, Split, column_names, read_split, row_id, split_file
from coigw_judge.records.record import Unreadable

ROWS = [{"id": n, "answer": f"第{n}篇\n" * (n % 4 + 1)} for n in range(50)]


def jsonl(rows: list[Any], end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def put(folder: Path, name: str, data: bytes) -> File:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return list_input_files([name], folder)[0]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def rows(file: File, columns: list[str] | None = None, size: int = splits.SPLIT_BYTES) -> list[tuple[int, Row]]:
    return [row for piece in split_file(file, size) for row in read_split(piece, columns)]


def readable(file: File) -> list[dict[str, Any]]:
    return [row for _, row in rows(file) if isinstance(row, dict)]


def broken(file: File) -> list[str]:
    return [row.reason for _, row in rows(file) if isinstance(row, Unreadable)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("source")


# JSONL by byte range

line = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(
        lambda text: json.dumps({"a": text}, ensure_ascii=False)
    ),
    st.sampled_from(["", "  ", "{", "[1]", '"text"', '{"a": "' + "长" * 40 + '"}', '{"a": NaN}', "\ufeff{}"]),
)


@given(
    lines=st.lists(line, max_size=12),
    ends=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    size=st.integers(1, 80),
)
def test_splits_hold_every_row_once_at_the_place_where_a_whole_reading_finds_it(
    folder: Path, lines: list[str], ends: str, last: bool, size: int
) -> None:
    data = (ends.join(lines) + (ends if last else "")).encode()
    file = put(folder, "random.jsonl", data)
    whole = rows(file)
    assert [piece.start for piece in split_file(file, size)] == list(range(0, max(1, len(data)), size))
    assert repr(rows(file, size=size)) == repr(whole)
    assert len(whole) == sum(bool(raw.strip()) for raw in data.split(b"\n"))
    for position, _ in whole:
        assert position == 0 or data[position - 1 : position] == b"\n"


def test_positions_do_not_depend_on_the_size_of_splits(folder: Path) -> None:
    file = put(folder, "same.jsonl", jsonl(ROWS))
    whole = rows(file)
    assert [row for _, row in whole] == ROWS
    for size in (1, 7, 64, 1 << 20):
        assert rows(file, size=size) == whole


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"answer": "torn', "the line is not JSON"),
        (b"[1, 2]", "the line is not a JSON object"),
        (b"null", "the line is not a JSON object"),
        (b'{"answer": "\xff\xfe"}', "the line is not UTF-8: invalid start byte at byte 12"),
        ('{"answer": "好"}'.encode("gb18030"), "the line is not UTF-8"),
        (b"[" * 100_000, "the line is not JSON"),
        (b'{"n": ' + b"9" * 5000 + b"}", "the line is not JSON"),
        (b"\x00", "the line is not JSON"),
    ],
    ids=["torn", "list", "null", "bytes", "gb18030", "deep", "huge number", "NUL"],
)
def test_a_broken_line_is_one_unreadable_row(folder: Path, bad: bytes, reason: str) -> None:
    file = put(folder, "bad.jsonl", jsonl(ROWS[:2]) + bad + b"\n" + jsonl(ROWS[2:4]))
    assert readable(file) == ROWS[:4]
    (said,) = broken(file)
    assert said.startswith(reason)
    assert "\n" not in said


def test_lone_surrogates_and_doubled_keys_are_the_records_business(folder: Path) -> None:
    file = put(folder, "odd.jsonl", b'{"answer": "\\ud800"}\n{"answer": 1, "answer": 2}\n')
    assert readable(file) == [{"answer": "\ud800"}, {"answer": 2}]


def test_a_byte_order_mark_is_no_part_of_the_first_row(folder: Path) -> None:
    file = put(folder, "bom.jsonl", b"\xef\xbb\xbf" + jsonl(ROWS[:3]))
    assert readable(file) == ROWS[:3]
    assert next(position for position, _ in rows(file)) == 0


@pytest.mark.parametrize("data", [b"", b"\n\n", b"  \n"])
def test_a_file_without_rows_has_none(folder: Path, data: bytes) -> None:
    file = put(folder, "none.jsonl", data)
    assert rows(file) == []
    assert column_names(file) is None


# Compressed

PACK = {"gz": gzip.compress, "zst": zstd}
PACK_NAME = {"gz": "gzip", "zst": "zstd"}


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_file_has_the_rows_and_positions_of_the_plain_one(folder: Path, suffix: str) -> None:
    plain = put(folder, "plain.jsonl", jsonl(ROWS))
    packed = put(folder, f"packed.jsonl.{suffix}", PACK[suffix](jsonl(ROWS)))
    assert len(split_file(packed, 10)) == 1
    assert rows(packed, size=10) == rows(plain, size=10)


def test_members_of_a_gzip_file_are_read_on(folder: Path) -> None:
    file = put(folder, "members.jsonl.gz", gzip.compress(jsonl(ROWS[:20])) + gzip.compress(jsonl(ROWS[20:])))
    assert readable(file) == ROWS


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_gives_the_rows_before_the_tear_and_one_unreadable(
    folder: Path, suffix: str, share: float
) -> None:
    many = [{"id": n, "answer": zlib.crc32(str(n).encode()).to_bytes(4).hex() * 9} for n in range(4000)]
    data = PACK[suffix](jsonl(many))
    torn = data[: int(len(data) * share)]
    file = put(folder, f"torn.jsonl.{suffix}", torn)
    found = readable(file)
    assert found == many[: len(found)]
    (said,) = broken(file)
    assert said.startswith("the file breaks off here" if found else f"the file cannot be read as {PACK_NAME[suffix]}")
    assert isinstance(rows(file)[-1][1], Unreadable)
    if suffix == "gz":
        complete = zlib.decompressobj(31).decompress(torn).count(b"\n")
        assert len(found) == complete, "rows that could be read were lost"
    else:
        assert len(found) > 4000 * (share - 0.5)


def test_a_file_that_is_not_what_its_name_says_is_one_unreadable_row(folder: Path) -> None:
    file = put(folder, "plain-after-all.jsonl.gz", jsonl(ROWS[:3]))
    assert readable(file) == []
    assert len(broken(file)) == 1


# CSV


def test_quoted_fields_may_hold_line_breaks_commas_and_quotes(folder: Path) -> None:
    texts = ["一行", "两行\n三行", "回车\r\n换行", '他说："好，好"', "", ",", "\n"]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, ["id", "answer"])
    writer.writeheader()
    writer.writerows({"id": str(n), "answer": text} for n, text in enumerate(texts))
    for name, data in (("q.csv", buffer.getvalue().encode()), ("q.csv.gz", gzip.compress(buffer.getvalue().encode()))):
        file = put(folder, name, data)
        assert [row["answer"] for row in readable(file)] == texts
        assert [position for position, _ in rows(file)] == list(range(len(texts)))


def test_a_csv_row_may_lack_cells_but_not_hold_more_than_the_header_names(folder: Path) -> None:
    file = put(folder, "ragged.csv", "\ufeffid,answer\n1\n2,文,多,余\n3,章\n4,末,,\n".encode())
    assert readable(file) == [{"id": "1", "answer": None}, {"id": "3", "answer": "章"}, {"id": "4", "answer": "末"}]
    assert broken(file) == ["the row has 4 cells and the header 2; put a text that holds a comma in quotes"]
    assert column_names(file) == ["id", "answer"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"2,\xff\xfe", "the row is not UTF-8"),
        (b'2,"a"b', "the row is not CSV"),
    ],
)
def test_a_broken_csv_row_costs_one_row(folder: Path, bad: bytes, reason: str) -> None:
    file = put(folder, "bad.csv", "id,answer\n1,好\n".encode() + bad + "\n3,好\n4,好\n".encode())
    assert [row["id"] for row in readable(file)] == ["1", "3", "4"]
    assert [position for position, row in rows(file) if isinstance(row, Unreadable)] == [1]
    (said,) = broken(file)
    assert said.startswith(reason)


def test_a_quote_that_never_closes_is_said_to(folder: Path) -> None:
    file = put(folder, "open.csv", 'id,answer\n1,好\n2,"没有完\n3,好\n'.encode())
    assert [row["id"] for row in readable(file)] == ["1", "3"]
    assert broken(file) == ["the row is not CSV: a quote is opened and never closed"]
    file = put(folder, "torn.csv", 'id,answer\n1,好\n2,"第一行\n第二行\n第三'.encode())
    assert [row["id"] for row in readable(file)] == ["1"]
    assert broken(file) == ["the row is not CSV: a quote is opened and never closed (2 more lines belong to it)"]


def test_a_csv_file_torn_in_its_compression(folder: Path) -> None:
    data = gzip.compress(("answer\n" + "".join(f"{zlib.crc32(b'%d' % n)}\n" for n in range(9000))).encode())
    file = put(folder, "torn.csv.gz", data[: len(data) // 2])
    assert 100 < len(readable(file)) < 9000
    assert len(broken(file)) == 1


@pytest.mark.parametrize("data", [b"", b"id,answer\n"])
def test_a_csv_file_without_rows_has_none(folder: Path, data: bytes) -> None:
    assert rows(put(folder, "none.csv", data)) == []


# Parquet


def parquet(path: Path, table: pa.Table, group: int) -> File:
    pq.write_table(table, path, row_group_size=group)
    return list_input_files([path.name], path.parent)[0]


@given(count=st.integers(0, 40), group=st.integers(1, 15), size=st.integers(1, 400))
def test_row_groups_hold_every_row_once_under_its_number(folder: Path, count: int, group: int, size: int) -> None:
    table = pa.table({"answer": [f"第{n}篇" for n in range(count)], "other": list(range(count))})
    file = parquet(folder / "random.parquet", table, group)
    found = rows(file, ["answer", "not there"], size)
    assert found == [(n, {"answer": f"第{n}篇"}) for n in range(count)]


def test_all_columns_are_read_where_none_are_named(folder: Path) -> None:
    table = pa.table({"answer": ["文"], "tags": [["a", "b"]], "meta": [{"k": 1}]})
    file = parquet(folder / "all.parquet", table, 1)
    assert readable(file) == [{"answer": "文", "tags": ["a", "b"], "meta": {"k": 1}}]
    assert column_names(file) == ["answer", "tags", "meta"]


def test_a_parquet_file_without_row_groups_has_no_splits(folder: Path) -> None:
    with pq.ParquetWriter(folder / "empty.parquet", pa.schema([("answer", pa.string())])):
        pass
    file = list_input_files(["empty.parquet"], folder)[0]
    assert split_file(file) == []
    assert column_names(file) == ["answer"]


def test_a_parquet_text_that_is_not_utf8_is_given_as_bytes(folder: Path) -> None:
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1, 3, 4)))
    array = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xff\xfec")])
    file = parquet(folder / "bytes.parquet", pa.table({"answer": array}), 3)
    assert rows(file) == [(0, {"answer": "a"}), (1, {"answer": b"\xff\xfe"}), (2, {"answer": "c"})]


def test_a_date_that_python_can_not_hold_costs_nothing(folder: Path) -> None:
    times = pa.array([0, 10**18, -(10**18)], pa.int64()).cast(pa.timestamp("ms"))
    nano = pa.array([0, 1, 1001], pa.int64()).cast(pa.timestamp("ns"))
    file = parquet(folder / "dates.parquet", pa.table({"id": nano, "at": times, "answer": ["甲", "乙", "丙"]}), 3)
    found = readable(file)
    assert [row["answer"] for row in found] == ["甲", "乙", "丙"]
    assert len({str(row["id"]) for row in found}) == len({str(row["at"]) for row in found}) == 3


def test_a_parquet_file_without_its_footer_is_one_unreadable_row(folder: Path) -> None:
    whole = parquet(folder / "whole.parquet", pa.table({"answer": ["文"] * 500}), 500)
    data = Path(whole.path).read_bytes()
    for name, cut in (("half", len(data) // 2), ("tail", len(data) - 5), ("nothing", 0)):
        file = put(folder, f"{name}.parquet", data[:cut])
        assert [piece.start for piece in split_file(file)] == [0]
        ((position, row),) = rows(file)
        assert position == 0
        assert isinstance(row, Unreadable)
        assert row.reason.startswith("the file cannot be read as Parquet (")
        assert column_names(file) is None


def damaged(folder: Path, group: int, column: str, part: slice) -> File:
    """A file of 3 row groups of 2,000 rows with zeros over a part of the pages of one column."""
    texts = [f"第{zlib.crc32(b'%d' % n)}篇" for n in range(6000)]
    table = pa.table({"id": list(range(6000)), "answer": texts, "tags": texts[::-1]})
    path = folder / "damaged.parquet"
    pq.write_table(table, path, row_group_size=2000, data_page_size=4000, use_dictionary=False)
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(group).column(table.column_names.index(column))
    start, stop, _ = part.indices(chunk.total_compressed_size)
    begin = chunk.data_page_offset
    data[begin + start : begin + stop] = bytes(stop - start)
    path.write_bytes(data)
    return list_input_files([path.name], folder)[0]


@pytest.mark.parametrize("size", [1, 1 << 30])
@pytest.mark.parametrize(("part", "least"), [(slice(None), 0), (slice(-9000, None), 500)])
def test_rows_behind_a_broken_page_are_counted_and_the_other_groups_read(
    folder: Path, size: int, part: slice, least: int
) -> None:
    file = damaged(folder, 1, "answer", part)
    found = rows(file, ["id", "answer"], size)
    assert [position for position, _ in found] == list(range(6000))
    lost = [position for position, row in found if isinstance(row, Unreadable)]
    assert lost == list(range(lost[0], 4000)), "the group is lost from the break to its end, no more"
    assert 2000 + least <= lost[0] < 4000
    assert all(row["id"] == position for position, row in found if isinstance(row, dict))
    reasons = {row.reason.split(":")[0] for _, row in rows(file, size=size) if isinstance(row, Unreadable)}
    assert reasons <= {"row group 1 of the file is broken in column answer"}
    others = rows(file, ["id", "tags"], size)
    assert others == [(n, row) for n, row in others if isinstance(row, dict)]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_wrong_byte_anywhere_in_a_parquet_file_raises_nothing(folder: Path, compression: str) -> None:
    texts = [f"第{n}篇" for n in range(300)]
    table = pa.table({"id": list(range(300)), "answer": texts, "tags": [[text] for text in texts]})
    pq.write_table(table, folder / "wrong.parquet", compression=compression, row_group_size=100)
    whole = (folder / "wrong.parquet").read_bytes()
    counts = set()
    for place in range(0, len(whole), max(1, len(whole) // 250)):
        file = put(folder, "wrong.parquet", whole[:place] + b"\x9a" + whole[place + 1 :])
        column_names(file)
        found = rows(file, ["id", "answer"])
        assert (
            [position for position, _ in found] == [position for position, _ in rows(file)] == list(range(len(found)))
        )
        assert not any("\n" in row.reason for _, row in found if isinstance(row, Unreadable))
        counts.add(len(found))
    assert {1, 300} <= counts


def test_what_is_left_of_a_row_is_given_where_all_columns_are_wanted(folder: Path) -> None:
    file = damaged(folder, 2, "tags", slice(None))
    found = rows(file)
    assert [row["id"] for _, row in found if isinstance(row, dict)] == list(range(6000))
    assert "tags" in found[3999][1] and set(found[4000][1]) == {"id", "answer"}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.csv", "a.csv.gz"])
def test_a_disk_that_fails_is_no_broken_row(tmp_path: Path, name: str) -> None:
    file = put(tmp_path, name, jsonl(ROWS))
    never_read(tmp_path / name)
    piece = Split(file.path, name, file.format, file.compression, 0, file.size)
    with pytest.raises(FixSource, match=rf"{re.escape(name)}: cannot be read \(.*Input/output error"):
        list(split_file(file) if name == "a.parquet" else read_split(piece))


def never_read(path: Path) -> None:
    """Put in the place of a file what can be opened but never read: the system's error is that of a broken disk."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def test_a_disk_that_fails_where_a_later_piece_begins_is_no_broken_row(tmp_path: Path) -> None:
    file = put(tmp_path, "a.jsonl", jsonl(ROWS))
    never_read(tmp_path / "a.jsonl")
    with pytest.raises(FixSource, match=r"a\.jsonl: cannot be read \(.*Input/output error\); run again once it can"):
        list(read_split(Split(file.path, file.name, "jsonl", None, 100, file.size)))


@pytest.mark.parametrize("kind", ["parquet", "jsonl.gz", "csv.zst"])
def test_a_file_that_goes_before_its_damage_is_seen_is_not_called_damaged(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        file = damaged(tmp_path, 1, "answer", slice(None))
    else:
        lines = [f"{zlib.crc32(b'%d' % n)}" for n in range(60_000)]
        data = (
            jsonl([{"answer": line} for line in lines]) if "jsonl" in kind else "\n".join(["answer", *lines]).encode()
        )
        file = put(tmp_path, f"torn.{kind}", PACK[kind[-3:].strip(".l")](data)[:-5000])
    reading = read_split(split_file(file)[0], ["answer"])
    assert isinstance(next(reading)[1], dict)
    Path(file.path).unlink()
    with pytest.raises(FixSource, match=r"(damaged|torn)\.[a-z.]+: cannot be read \(.*\); run again once it can"):
        list(reading)


def test_a_column_that_stands_twice_is_not_chosen_from(folder: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["甲"]), pa.array(["乙"])], names=["answer", "answer"])
    file = parquet(folder / "twice.parquet", twice, 1)
    assert rows(file, ["id", "answer"]) == [(0, Unreadable("the file has the column answer twice"))]
    file = put(folder, "twice.csv", "answer,answer,,\n甲,乙,,\n丙,丁,,\n".encode())
    assert rows(file, ["answer"]) == [(n, Unreadable("the header names the column answer twice")) for n in (0, 1)]


# Which files


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.jsonl", "c.csv", "notes.txt", "sub/d.jsonl.gz", "sub/e.parquet", "[x].jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["b.jsonl", "a.jsonl"], ["b.jsonl", "a.jsonl"]),
        (["*.jsonl"], ["[x].jsonl", "a.jsonl", "b.jsonl"]),
        (["[x].jsonl"], ["[x].jsonl"]),
        (["?.jsonl", "*.csv"], ["a.jsonl", "b.jsonl", "c.csv"]),
        (["c.csv", "*"], ["c.csv", "[x].jsonl", "a.jsonl", "b.jsonl"]),
        (["sub"], ["sub/d.jsonl.gz", "sub/e.parquet"]),
        (["sub/"], ["sub/d.jsonl.gz", "sub/e.parquet"]),
        (["**/*.gz"], ["sub/d.jsonl.gz"]),
        (["."], ["./[x].jsonl", "./a.jsonl", "./b.jsonl", "./c.csv", "./sub/d.jsonl.gz", "./sub/e.parquet"]),
        (["a.jsonl", "./a.jsonl", "sub/../a.jsonl"], ["a.jsonl"]),
    ],
    ids=str,
)
def test_files_come_in_the_order_of_patterns_each_once(crawl: Path, patterns: list[str], names: list[str]) -> None:
    assert [file.name for file in list_input_files(patterns, crawl)] == names


def test_a_glob_reads_each_file_once_and_leaves_out_other_programs_folders(tmp_path: Path) -> None:
    for name in (
        "a.jsonl",
        "_temporary/0/b.jsonl",
        ".git/c.jsonl",
        "d.parquet/part-0.jsonl",
        "sub/e.jsonl",
        "_own/f.jsonl",
    ):
        put(tmp_path, name, b"")
    (tmp_path / "sub" / "loop").symlink_to("..")
    (tmp_path / "sub" / "again.jsonl").symlink_to("../a.jsonl")
    (tmp_path / "gone.jsonl").symlink_to("nowhere")
    (tmp_path / "self.jsonl").symlink_to("self.jsonl")
    (tmp_path / "1-before").symlink_to(".")
    files = list_input_files(["**/*.jsonl"], tmp_path)
    assert [file.name for file in files] == [
        "a.jsonl",
        "d.parquet/part-0.jsonl",
        "gone.jsonl",
        "self.jsonl",
        "sub/e.jsonl",
    ]
    assert [file.trouble for file in files if file.trouble] == ["the file is a link that leads nowhere"] * 2
    assert [file.name for file in list_input_files(["*.parquet", "_own/*"], tmp_path)] == [
        "d.parquet/part-0.jsonl",
        "_own/f.jsonl",
    ]


def test_absolute_paths_and_home_are_understood(crawl: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(crawl))
    elsewhere = tmp_path / "sub"
    assert [f.name for f in list_input_files([f"{crawl}/?.jsonl"], elsewhere)] == [
        f"{crawl}/a.jsonl",
        f"{crawl}/b.jsonl",
    ]
    assert [f.path for f in list_input_files(["~/a.jsonl"], elsewhere)] == [f"{crawl}/a.jsonl"]
    assert [f.path for f in list_input_files(["~/?.jsonl"], elsewhere)] == [f"{crawl}/a.jsonl", f"{crawl}/b.jsonl"]


def test_a_uri_is_listed_like_a_path(crawl: Path) -> None:
    (crawl / "a.jsonl").write_bytes(jsonl(ROWS[:2]))
    one = list_input_files([f"file://{crawl}/a.jsonl"], Path("/nowhere"))
    many = list_input_files([f"file://{crawl}/*.jsonl"], Path("/nowhere"))
    assert [file.name for file in many] == [f"file://{crawl}/{name}.jsonl" for name in ("[x]", "a", "b")]
    assert readable(one[0]) == ROWS[:2]
    assert one[0].size == len(jsonl(ROWS[:2]))


@pytest.mark.parametrize("pattern", ["gone.jsonl", "gone/*.jsonl", "*.orc", "empty"])
def test_a_pattern_without_a_file_is_refused_by_name(crawl: Path, pattern: str) -> None:
    (crawl / "empty").mkdir()
    with pytest.raises(FixSource) as refused:
        list_input_files(["a.jsonl", pattern], crawl)
    message = str(refused.value)
    assert message == f"input.paths: {pattern}: no such file or match (looked in {crawl}); correct the path"


def test_a_file_of_no_known_format_is_refused_with_those_that_are(crawl: Path) -> None:
    with pytest.raises(FixSource, match=r"notes\.txt: format not known by its name; use \.parquet, \.jsonl, "):
        list_input_files(["notes.txt"], crawl)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.parquet", "parquet"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.jsonl.zst", "jsonl"),
        ("a.csv.gz", "csv"),
        ("a.json", None),
        ("jsonl", None),
        ("a.gz", None),
        ("a.parquet.tmp", None),
    ],
)
def test_a_format_is_known_by_its_name(name: str, form: str | None) -> None:
    assert file_format(name) == form


def test_columns_of_jsonl_are_those_of_its_first_rows(folder: Path) -> None:
    file = put(folder, "columns.jsonl", jsonl([{"a": 1}, [0], {"b": 2, "a": 3}]))
    assert column_names(file) == ["a", "b"]


@pytest.mark.parametrize("name", ["one.jsonl", "one.csv", "one.parquet"])
def test_a_row_is_found_again_by_its_id(folder: Path, name: str) -> None:
    if name.endswith("parquet"):
        file = parquet(folder / name, pa.Table.from_pylist(ROWS), 7)
    elif name.endswith("csv"):
        file = put(folder, name, b"id\n" + b"".join(b"%d\n" % row["id"] for row in ROWS))
    else:
        file = put(folder, name, jsonl(ROWS))
    wanted = {(name, position): row for position, row in rows(file, size=40)[::9]}
    assert all(row_id(name, position) == f"{name}:{position}" for _, position in wanted)
    places = [*wanted, (name, 10**9), ("other", 0)]
    assert dict(pick.rows_at(places, [file], size=40)) == wanted | {(name, 10**9): None, ("other", 0): None}


# Any bytes at all

piece_of_text = st.sampled_from(
    [
        b"{",
        b"}",
        b'"answer"',
        b":",
        b'"',
        b"\n",
        b"\r\n",
        b",",
        b"\\",
        b"\xff",
        b"\0",
        b"[",
        "文".encode(),
        b"answer",
        b"NaN",
    ]
)
some_bytes = st.binary(max_size=60) | st.lists(piece_of_text, max_size=30).map(b"".join)
marks = st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"{\0", b"\0{", b"\x1f\x8b"])


@given(
    mark=marks,
    data=some_bytes,
    name=st.sampled_from(["any.jsonl", "any.csv", "any.jsonl.gz", "any.csv.zst", "any.parquet"]),
    coding=st.sampled_from(["utf-8", "gb18030", "big5", "utf-16-le", "utf-32-be", "cp1252"]),
    size=st.integers(5, 80),
)
def test_any_bytes_are_rows_or_reasons(
    folder: Path, mark: bytes, data: bytes, name: str, coding: str, size: int
) -> None:
    put(folder, name, mark + data)
    (file,) = list_input_files([name], folder, coding)
    column_names(file)
    found, again = rows(file, size=size), rows(file, ["answer"], size)
    positions = [position for position, _ in found]
    assert positions == sorted(set(positions)) == [position for position, _ in again]
    assert all(row.reason.isprintable() for _, row in again if isinstance(row, Unreadable))
