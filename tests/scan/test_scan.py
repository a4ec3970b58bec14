"""Scanning without Ray: counts, positions, duplicates over all splits, and a file that changed afterwards."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Row, scan_rows

from coigw_judge.errors import CountsDiffer, FixSource
from coigw_judge.input.listing import list_input_files
from coigw_judge.input.splits import group_for_tasks, split_files
from coigw_judge.job.job import Screen, load_job
from coigw_judge.records.record import record_digest, to_record
from coigw_judge.scan import rows as scanning
from coigw_judge.scan.rows import Scan, scan_digest
from coigw_judge.storage.hash_ranges import ALL, span
from coigw_judge.store.parts import Store


def scanned(store: Store, scan: Scan) -> list[dict[str, Any]]:
    return scanning.read_rows(store, scan, ALL).to_pylist()


FILES: list[list[Row]] = [
    [{"id": "a", "answer": "甲"}, {"id": "b", "answer": "乙", "query": "题", "genre": "诗歌"}, "broken"],
    [{"answer": "丙", "query": "题", "thought": "思<think>"}, {"answer": " "}, {"id": 7, "answer": 7}],
]


def test_every_row_is_counted_by_what_it_is(tmp_path: Path) -> None:
    store, scan = scan_rows(tmp_path, FILES)
    assert (scan.rows, scan.rows_in, scan.unreadable, scan.duplicates) == ((3, 3), 6, 3, 0)
    assert scan.kinds == {"answer": 1, "answer+query": 1, "answer+query+thought": 1}
    assert [scan.applicable(reads) for reads in (["answer"], ["query", "answer"], ["thought"])] == [3, 2, 1]
    assert scanning.load(store, "d") == scan
    assert scanning.load(store, "other") is None


def test_a_row_is_kept_without_its_texts(tmp_path: Path) -> None:
    store, scan = scan_rows(tmp_path, FILES)
    one, two, three, four, five, six = scanned(store, scan)
    record = to_record(FILES[0][1], {})
    assert two["position"] == len(json.dumps(FILES[0][0], ensure_ascii=False).encode()) + 1
    assert (two["id"], two["genre"], two["chars"], two["flags"]) == ("b", "诗歌", 2, [])
    assert two["record"] == record_digest(record.digests())
    assert {field: two[field] for field in ("answer", "query")} == record.digests()
    assert two["thought"] is None
    assert four["flags"] == ["injection_suspected"]
    assert "甲" not in str(one)
    for row, reason in ((three, "the line is not JSON"), (five, "answer is missing"), (six, "answer is a number")):
        assert row["unreadable"].startswith(reason)
        assert row["record"] is None
    assert six["id"] == "7"


def test_small_files_share_a_task_and_nothing_else_changes(tmp_path: Path) -> None:
    for number in range(7):
        lines = [{"id": f"{number}-{n}", "answer": f"第{number % 3}篇{n}"} for n in range(number)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines) + "broken\n" * (number == 5)
        (tmp_path / f"{number}.jsonl").write_text(text, encoding="utf-8")
    pieces = split_files(list_input_files([str(tmp_path)], tmp_path))
    store = Store(str(tmp_path / "store"))

    def scan(digest: str, shares: list[list[int]], limit: int | None = None) -> Scan:
        work = store.path("work", digest)
        counts = [
            scanning.scan_splits(store, work, n, [(s, pieces[s]) for s in share], {}, limit, Screen())
            for n, share in enumerate(shares)
        ]
        gathered = [scanning.gather(store, digest, 0, work, range(len(shares)), Screen(), None)]
        duplicates = scanning.count_duplicates(store, digest, 1, ALL)
        seen = sum(len(count["rows"]) for count in counts)
        return scanning.finish(store, digest, pieces[:seen], counts[::-1], gathered, duplicates)

    shares = group_for_tasks(enumerate(pieces), 200_000)  # opening a file counts as 64 KiB of it
    assert 1 < len(shares) < len(pieces) and [n for share in shares for n in share] == list(range(len(pieces)))
    together, apart = scan("together", shares), scan("apart", [[n] for n in range(len(pieces))])
    assert (
        replace(together, digest="") == replace(apart, digest="") == replace(scanning.load(store, "apart"), digest="")
    )
    assert together.rows == (0, 1, 2, 3, 4, 6, 6) and together.duplicates == 6
    assert scanned(store, together) == scanned(store, apart)
    assert scan("some", [list(range(len(pieces)))], limit=8).rows == (0, 1, 2, 3, 2)


def test_columns_are_mapped(tmp_path: Path) -> None:
    _, scan = scan_rows(
        tmp_path, [[{"content": "文", "prompt": "题"}]], columns={"answer": "content", "query": "prompt"}
    )
    assert scan.kinds == {"answer+query": 1}


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.sampled_from("甲乙丙丁") | st.just("broken"), max_size=8), min_size=1, max_size=4),
    st.sampled_from([1, 3, 1000]),
)
def test_rows_come_back_in_input_order_from_any_number_of_files_and_buckets(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], rows_per_file: int
) -> None:
    folder = tmp_path_factory.mktemp("duplicates")
    files: list[list[Row]] = [[text if text == "broken" else {"answer": text} for text in file] for file in texts]
    store, scan = scan_rows(folder, files, rows_per_file=rows_per_file)
    wanted = [(split, row) for split, file in enumerate(texts) for row, _ in enumerate(file)]
    assert [(row["split"], row["row"]) for row in scanned(store, scan)] == wanted
    parts = [scanning.read_rows(store, scan, span(n, 3)).to_pylist() for n in range(3)]
    assert sorted((row["split"], row["row"]) for part in parts for row in part) == wanted
    records = [text for file in texts for text in file if text != "broken"]
    assert scan.duplicates == len(records) - len(set(records))
    assert sum(scanning.count_duplicates(store, "d", scan.files, span(n, 3)) for n in range(3)) == scan.duplicates


def test_duplicates_are_of_the_same_texts_in_the_same_fields(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"answer": "甲"},
        {"answer": "甲", "query": "乙"},
        {"answer": "乙", "query": "甲"},
        {"answer": "甲 "},
    ]
    assert scan_rows(tmp_path, [rows])[1].duplicates == 0
    assert (
        scan_rows(tmp_path, [[*rows, {"answer": "甲", "thought": " ", "id": "x", "genre": "诗歌"}]])[1].duplicates == 1
    )


def test_all_sixteen_bytes_of_a_digest_count(tmp_path: Path) -> None:
    store, scan = scan_rows(tmp_path, [[{"answer": "甲"}, {"answer": "乙"}, {"answer": "甲"}]])
    path = store.path("scans", scan.digest, "00000.parquet")
    table = pq.read_table(path)
    for half in (slice(0, 8), slice(8, 16)):
        like = bytearray(b"\x01" * 16)
        like[half] = b"\x02" * 8
        records = pa.array([b"\x01" * 16, bytes(like), b"\x01" * 16], table["record"].type)
        pq.write_table(table.set_column(table.column_names.index("record"), "record", records), path)
        assert scanning.count_duplicates(store, scan.digest, 1, ALL) == 1


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    store, scan = scan_rows(tmp_path, [FILES[0]], limit=2)
    assert scan.rows_in == 2
    assert [row["id"] for row in scanned(store, scan)] == ["a", "b"]
    assert [record.id for _, record in scanning.records(scan, 0, {}, None)] == ["a", "b"]
    (tmp_path / "less").mkdir()
    _, less = scan_rows(tmp_path / "less", [FILES[0]], limit=1)
    assert [record.id for _, record in scanning.records(less, 0, {}, None)] == ["a"]


@pytest.mark.parametrize("files", [[], [[]], [["broken"]], [[], [{"answer": "甲"}], []], [[], ["{"], [{}, {}]]])
def test_splits_may_hold_nothing(tmp_path: Path, files: list[list[Row]]) -> None:
    store, scan = scan_rows(tmp_path, files)
    assert scan.rows == tuple(map(len, files))
    assert scan.rows_in == len(scanned(store, scan))
    assert scanning.load(store, "d") == scan


def test_records_come_back_with_their_texts_and_row_numbers(tmp_path: Path) -> None:
    _, scan = scan_rows(tmp_path, FILES)
    assert [(row, record.texts["answer"]) for row, record in scanning.records(scan, 0, {}, None)] == [
        (0, "甲"),
        (1, "乙"),
    ]
    assert [row for row, _ in scanning.records(scan, 0, {}, {1, 2})] == [1]
    assert [record.texts for _, record in scanning.records(scan, 1, {}, {0})] == [
        {"answer": "丙", "query": "题", "thought": "思<think>"}
    ]


def test_a_file_that_lost_rows_since_is_refused(tmp_path: Path) -> None:
    _, scan = scan_rows(tmp_path, FILES)
    (tmp_path / "0.jsonl").write_text('{"answer": "甲"}\n', encoding="utf-8")
    with pytest.raises(
        FixSource, match=r"0\.jsonl: has changed since it was scanned \(3 rows then, 1 now\); run again"
    ):
        list(scanning.records(scan, 0, {}, None))


def test_rows_that_came_since_wait_for_the_next_scan(tmp_path: Path) -> None:
    _, scan = scan_rows(tmp_path, FILES)
    with (tmp_path / "1.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"answer": "新"}\n')
    assert [row for row, _ in scanning.records(scan, 1, {}, None)] == [0]


def test_counts_that_differ_are_said(tmp_path: Path) -> None:
    _, scan = scan_rows(tmp_path, FILES)
    scanning.check_total(scan, 6)
    with pytest.raises(CountsDiffer, match="6 rows came in and 5 were decided; do not use this run's output"):
        scanning.check_total(scan, 5)


def test_a_scan_is_named_by_all_it_depends_on(write_job: Callable[..., Path], tmp_path: Path) -> None:
    job = write_job([{"answer": "甲"}])

    def named(*overrides: str) -> str:
        loaded = load_job(job, overrides)
        return scan_digest(loaded.config, list_input_files(loaded.config.input.paths, tmp_path))

    base = named()
    assert base == named() == named("gate.each=9") == named("rubrics=[thought, query, answer]")
    assert len({base, named("limit=3"), named("input.columns.answer=content"), named("screen.duplicate=flag")}) == 4
    (tmp_path / "rows.jsonl").write_text('{"answer": "甲乙"}\n', encoding="utf-8")
    assert named() != base
