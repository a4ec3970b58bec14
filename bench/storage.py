"""Many small files and one huge one: seconds and memory of listing, cutting and scanning them. No judge, no Ray.

    python bench/storage.py --files 10000          files of five rows each
    python bench/storage.py --huge 500             one JSONL file and one Parquet file of a single row group, in MB

Tasks run one after another in this process, so its memory is a task's; on a cluster they run side by side.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from watch import peak_bytes

from coigw_judge.input.listing import list_input_files
from coigw_judge.input.splits import group_for_tasks, split_files
from coigw_judge.scan import rows as scanning
from coigw_judge.screens.config import Screen
from coigw_judge.store.parts import Store

_TEXT = "旧表走得慢，可它从不停下。" * 60


def rows(start: int, count: int) -> Iterator[dict[str, str]]:
    """Articles of some two thousand bytes; no two are alike."""
    return ({"id": str(n), "answer": f"第{n}篇。{_TEXT}"} for n in range(start, start + count))


def make_small(folder: Path, files: int) -> None:
    for number in range(files):
        place = folder / f"{number % 100:02d}"
        place.mkdir(exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows(5 * number, 5))
        (place / f"{number:07d}.jsonl").write_text("".join(lines), encoding="utf-8")


def make_huge(folder: Path, megabytes: int) -> None:
    """The Parquet file is one row group, written a batch at a time, as careless writers do."""
    count = megabytes * 500
    with (folder / "huge.jsonl").open("w", encoding="utf-8") as file:
        for row in rows(0, count):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    table = pa.Table.from_pylist(list(rows(count, count)))
    pq.write_table(table, folder / "huge.parquet", row_group_size=count, compression="none", use_dictionary=False)


def measure(folder: Path, *, apart: bool) -> None:
    """Print what listing, cutting and scanning take."""
    began, before = time.monotonic(), peak_bytes()
    files = list_input_files([str(folder / "in")], folder)
    listed = time.monotonic()
    pieces = split_files(files)
    shares = [[n] for n in range(len(pieces))] if apart else group_for_tasks(enumerate(pieces))
    cut, worked = time.monotonic(), time.process_time()
    store = Store(str(folder / "store"))
    total = 0
    for number, share in enumerate(shares):
        some = [(n, pieces[n]) for n in share]
        counts = scanning.scan_splits(store, store.path("work"), number, some, {}, None, Screen())
        total += sum(counts["rows"])
    done, worked = time.monotonic(), time.process_time() - worked
    size = sum(file.size for file in files) / 1e6
    print(f"{len(files):,} files, {size:,.0f} MB, {total:,} rows: {len(pieces):,} pieces in {len(shares):,} tasks")
    print(f"listed in {listed - began:.2f} s, cut in {cut - listed:.2f} s")
    print(f"scanned in {done - cut:.1f} s ({worked:.1f} s of a core)")
    print(f"peak memory: {before / 1e6:,.0f} MB before, {peak_bytes() / 1e6:,.0f} MB after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=0, metavar="N", help="small files (default: none)")
    parser.add_argument("--huge", type=int, default=0, metavar="MB", help="size of the huge ones (default: none)")
    parser.add_argument("--apart", action="store_true", help="a task per file, to compare (default: files share tasks)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        if options.files:
            make_small(folder / "in", options.files)
        if options.huge:
            make_huge(folder / "in", options.huge)
        # In a process of its own: making the files took memory too.
        how = ["--apart"] if options.apart else []
        subprocess.run([sys.executable, __file__, "--measure", name, *how], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), apart="--apart" in sys.argv)
    else:
        main()
