"""A sample of an input: spread over all of it, standing for all of it, cheap to read."""

import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import scan_rows

from coigw_judge.estimate import sample as estimate_sample
from coigw_judge.estimate.sample import InputSample, of_files, of_scan
from coigw_judge.input.listing import list_input_files


def rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Rows whose texts grow towards the end: whoever reads only the first is far off."""
    draw = random.Random(seed)
    return [{"id": f"r{n}", "answer": "文" * draw.randint(5 + n // 20, 60 + n // 5)} for n in range(count)]


def chars(sample: InputSample) -> float:
    """All characters of the input as the sample says."""
    return sum(w * record.chars for w, record in zip(sample.weights, sample.records, strict=True))


def true_chars(given: list[dict[str, Any]]) -> int:
    return sum(len(row["answer"]) for row in given)


def write(folder: Path, form: str, given: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given)
    if form == "jsonl":
        (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    elif form == "many jsonl":
        for n in range(40):
            part = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given[n::40])
            (folder / f"{n:02d}.jsonl").write_text(part, encoding="utf-8")
    elif form == "gz":
        for n in range(8):
            part = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given[n::8])
            (folder / f"{n}.jsonl.gz").write_bytes(gzip.compress(part.encode()))
    elif form == "utf-16":
        (folder / "rows.jsonl").write_bytes(lines.encode("utf-16"))
    elif form == "csv":
        text = "id,answer\n" + "".join(f"{row['id']},{row['answer']}\n" for row in given)
        (folder / "rows.csv").write_text(text, encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(given), folder / "rows.parquet", row_group_size=100)


@pytest.mark.parametrize("form", ["jsonl", "many jsonl", "gz", "parquet", "csv"])
def test_an_unscanned_input_is_measured_within_a_few_percent(tmp_path: Path, form: str) -> None:
    given = rows(6000)
    write(tmp_path, form, given)
    files = list_input_files([str(tmp_path)], tmp_path)
    sample = of_files(files, {}, 640, None)
    assert 500 <= len(sample.records) <= 1000 and not sample.whole
    assert len(set(sample.places)) == estimate_sample.PLACES
    assert sample.rows == pytest.approx(6000, rel=0.15)
    assert chars(sample) == pytest.approx(true_chars(given), rel=0.15)
    assert sum(sample.weights) == pytest.approx(sample.rows)


@pytest.mark.parametrize("files", [1, 7])
def test_a_scanned_input_is_sampled_over_all_its_splits(tmp_path: Path, files: int) -> None:
    given = rows(5000)
    size = -(-5000 // files)
    _, scan = scan_rows(tmp_path, [given[n : n + size] for n in range(0, 5000, size)])
    sample = of_scan(scan, {}, 640)
    assert sample.rows == 5000 and sum(sample.weights) == pytest.approx(5000)
    numbers = sorted(int(str(record.id)[1:]) for record in sample.records)
    assert all(any(low <= n < low + 500 for n in numbers) for low in range(0, 5000, 500)), "no stretch is left out"
    assert chars(sample) == pytest.approx(true_chars(given), rel=0.1)


def test_a_small_input_is_read_whole_and_each_row_stands_for_itself(tmp_path: Path) -> None:
    given = rows(50)
    _, scan = scan_rows(tmp_path, [[*given[:20], "no json"], given[20:]])
    sample = of_scan(scan, {}, 2000)
    assert sample.whole and len(sample.records) == 50 and set(sample.weights) == {1.0}
    assert sample.unreadable == 1 and sample.rows == 51 and chars(sample) == true_chars(given)


def test_unreadable_rows_are_counted_by_what_they_stand_for(tmp_path: Path) -> None:
    given: list[Any] = [row if n % 4 else "no json" for n, row in enumerate(rows(4000))]
    _, scan = scan_rows(tmp_path, [given])
    sample = of_scan(scan, {}, 640)
    assert sample.unreadable == pytest.approx(1000, rel=0.2)
    assert sample.unreadable + sum(sample.weights) == pytest.approx(4000)


def test_a_limit_bounds_what_the_sample_stands_for(tmp_path: Path) -> None:
    write(tmp_path, "jsonl", rows(3000))
    sample = of_files(list_input_files([str(tmp_path)], tmp_path), {}, 320, 100)
    assert sample.rows == 100 and sum(sample.weights) == pytest.approx(100)


def test_utf_16_and_broken_files_do_not_stop_a_sample(tmp_path: Path) -> None:
    write(tmp_path, "utf-16", rows(400))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1" + b"\0" * 4000)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    sample = of_files(list_input_files([str(tmp_path)], tmp_path), {}, 320, None)
    assert sample.records and all("文" in record.texts["answer"] for record in sample.records)
    assert 0 < sample.rows < 2000


def bytes_read() -> int:
    """What this process has read from files so far."""
    return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])


def test_a_large_file_is_not_read_through(tmp_path: Path) -> None:
    """Rows are entered where they are sampled: what is read does not grow with the file."""
    write(tmp_path, "jsonl", rows(20_000))
    files = list_input_files([str(tmp_path)], tmp_path)
    before = bytes_read()
    sample = of_files(files, {}, 640, None)
    read = bytes_read() - before
    assert len(sample.records) == 640 and read < 64 * 12 * files[0].size / 20_000 * 2, "64 places of some 12 rows"
