"""Broken input from end to end: every row is judged or says why not, and nothing crashes or vanishes."""

import json
import os
import socket
from collections import Counter, defaultdict
from contextlib import chdir, redirect_stderr
from pathlib import Path
from typing import Any

import hostile
import pyarrow.parquet as pq
import pytest
from hostile import CASES, DUPLICATE, JUDGED, MANY, PASSED_OVER, PLACES, Case

from coigw_judge.cli.main import main
from coigw_judge.errors import FixJob, FixSource
from coigw_judge.input.listing import list_input_files, stray_files
from coigw_judge.input.splits import read_split, split_file
from coigw_judge.job.job import load_job
from coigw_judge.records.record import Record, Unreadable, to_record

DOC = Path(__file__).parents[2] / "docs" / "broken-input.md"
ARTICLES = {"rubrics": ["article"], "gate": {"each": 1}, "write": ["all"], "input": {"paths": ["crawl"]}}
TITLES = [case.title for case in CASES]


def text_of(case: Case) -> str:
    return f"《{case.name}》写的是旧物"


def latest(folder: Path) -> Path:
    return max((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def verdicts(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(latest(folder) / "verdicts").to_pylist()


def became(row: dict[str, Any]) -> str:
    """What a case says of a row, from its verdict."""
    return JUDGED if row["decision"] in ("kept", "dropped") and row["asked"] else row["reasons"][0]


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# The whole table in one run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """Every case and every place in one folder, through one run; the folder, with what was said in said.txt."""
    folder = tmp_path_factory.mktemp("hostile")
    put(folder, "crawl/00-sound.jsonl", hostile.jsonl({"id": "sound", "answer": "一篇好文章"}))
    for case in CASES:
        put(folder, f"crawl/cases/{case.name}", case.make(text_of(case)))
    put(folder, "elsewhere/a.jsonl", hostile.jsonl({"answer": "别处的一篇"}))
    for place in PLACES:
        path = folder / "crawl" / "places" / place.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if place.link:
            path.symlink_to({"../elsewhere": str(folder / "elsewhere")}.get(place.link, place.link))
        else:
            path.write_bytes(hostile.jsonl({"id": "place", "answer": f"放在{os.fsencode(place.name).hex()}的一篇"}))
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(folder / "asks.log")}}
    job = {"name": "hostile", "store": "facts", "out": "runs", "judge": judge, **ARTICLES}
    put(folder, "job.yaml", json.dumps(job).encode())
    with (folder / "said.txt").open("w", encoding="utf-8") as said, redirect_stderr(said):
        assert main(["run", str(folder / "job.yaml")]) == 0
    return folder


@pytest.fixture(scope="module")
def by_file(run: Path) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in sorted(verdicts(run), key=lambda row: row["position"]):
        found[row["file"]].append(row)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_row_is_judged_or_says_why_not(by_file: dict[str, list[dict[str, Any]]], case: Case) -> None:
    rows = by_file.get(f"crawl/cases/{case.name}", [])
    found = [became(row) for row in rows]
    if case.torn:
        assert set(found[:-1]) == {JUDGED} and MANY // 10 < len(found) <= MANY + 1
        found = found[-1:]
    assert len(found) == len(case.rows), found
    for reason, expected in zip(found, case.rows, strict=True):
        assert reason.startswith(expected)
        assert len(reason) < 300 and reason.isprintable(), "a reason is one line that a person can read"
    unreadable = [row for row in rows if became(row) not in (JUDGED,) and not became(row).startswith(DUPLICATE)]
    assert {row["decision"] for row in unreadable} <= {"unreadable"}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ascii(place.name))
def test_each_file_is_read_once_or_passed_over_for_a_reason(run: Path, by_file: Any, place: hostile.Place) -> None:
    name = os.fsencode(f"crawl/places/{place.name}").decode("utf-8", "backslashreplace")
    rows = [row for file, found in by_file.items() if file == name or file.startswith(f"{name}/") for row in found]
    assert [became(row) for row in rows] == ([] if place.fate == PASSED_OVER else [place.fate])


def test_the_counts_of_a_hostile_run_add_up(run: Path) -> None:
    told = json.loads((latest(run) / "manifest.json").read_text())
    rows = verdicts(run)
    assert told["complete"] and told["rows_in"] == len(rows) == len({row["row_id"] for row in rows})
    assert +Counter(told["decisions"]) == Counter(row["decision"] for row in rows)
    for decision, count in told["decisions"].items():
        folder = latest(run) / decision
        assert (pq.read_table(folder).num_rows if folder.exists() else 0) == count
    asked = (run / "asks.log").read_text().splitlines()
    assert len(asked) == len({line.split()[1] for line in asked}) == sum(became(row) == JUDGED for row in rows)


def test_ids_are_text_or_null(by_file: Any) -> None:
    assert [row["id"] for row in by_file["crawl/cases/no-id.jsonl"]] == [None] * 6
    assert [row["id"] for row in by_file["crawl/cases/number-id.jsonl"]] == ["7", "1.5"]
    assert [row["id"] for row in by_file["crawl/cases/date-id.parquet"]] == ["2024-01-01"]
    assert [row["id"] for row in by_file["crawl/cases/surrogate-title.jsonl"]] == [None]


def test_files_most_of_whose_rows_are_unreadable_are_named_once(run: Path) -> None:
    lines = (run / "said.txt").read_text().split("\n")
    named = [line for line in lines if "rows are unreadable:" in line]
    assert len(named) == 3, "the three in which most rows are lost"
    reads_as = "(it reads as GB18030; set input.encoding: gb18030)"
    assert named[0] == f"crawl/cases/gb18030.csv: 2 of 2 rows are unreadable: the row is not UTF-8 {reads_as}"
    assert named[1] == f"crawl/cases/gb18030.jsonl: 2 of 2 rows are unreadable: the line is not UTF-8 {reads_as}"
    assert sum(line.endswith(" more such files") for line in lines) == 1


@pytest.mark.parametrize(
    "name", ["surrogate.jsonl", "group.parquet", "gb18030.csv", "controls-amid.jsonl", "pdf.jsonl"]
)
def test_show_tells_of_a_broken_row(run: Path, by_file: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = by_file[f"crawl/cases/{name}"][-1]
    assert main(["show", str(latest(run)), row["row_id"]]) == 0
    shown = capsys.readouterr().out
    assert became(row) in shown or row["decision"] == "kept"
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert main(["show", str(latest(run)), row["row_id"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["row_id"] == row["row_id"]


def test_show_tells_of_a_row_whose_file_is_gone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(latest(run)), "crawl/places/gone.jsonl:0"]) == 0
    assert "the file is a link that leads nowhere" in capsys.readouterr().out


# The table in docs/


def reasons_of(case: Case) -> str:
    found = dict.fromkeys(reason for reason in case.rows if reason not in (JUDGED, DUPLICATE))
    return "; ".join(f"`{reason.rstrip(': (')}`" for reason in found)


def table(lines: list[tuple[str, ...]], *heads: str) -> str:
    rows = [heads, tuple("---" for _ in heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)


def places() -> list[tuple[str, ...]]:
    said = {JUDGED: "read", PASSED_OVER: "passed over"}
    lines = {place.title: said.get(place.fate, f"one unreadable row: `{place.fate}`") for place in PLACES}
    return list(lines.items())


def test_the_docs_tell_what_was_tried_and_nothing_else() -> None:
    parts = list(dict.fromkeys(case.part for case in CASES))
    expected = {
        part: table(
            [(case.title, case.becomes, reasons_of(case)) for case in CASES if case.part == part],
            "input", "what becomes of it", "the reason as you see it",
        )
        for part in parts
    }  # fmt: skip
    expected["Which files of a folder are read"] = table(places(), "in a folder", "what becomes of it")
    doc = DOC.read_text(encoding="utf-8")
    for part, wanted in expected.items():
        after = doc.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
        found = "\n".join(line for line in after.splitlines() if line.startswith("|"))
        assert found == wanted, f"the table under `{part}` should be:\n{wanted}"


# Encodings by the job's word


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("gb18030", ["春天的早晨", "𠮷与€", "雨"]),
        ("big5", ["許功蓋", "雨落在舊瓦上", "雪"]),
        ("utf-16", ["春天的Ċ早晨", "ऊ𠮷਀", "\u0a0a\u0a00\u000b"]),
        ("utf-16-be", ["春天的Ċ早晨", "ऊ𠮷਀", "\u0a0a\u0a00"]),
        ("utf-32", ["春天的Ċ早晨", "𠮷\u0a00", "\U00010a0a"]),
        ("latin-1", ["café", "naïve", "x"]),
        ("shift_jis", ["表示", "ソ", "春"]),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_named_encoding_is_read(tmp_path: Path, name: str, texts: list[str], kind: str, size: int) -> None:
    lines = [json.dumps({"answer": text}, ensure_ascii=False) for text in texts]
    lines = lines if kind == "jsonl" else ["answer", *(f'"{text}"' for text in texts)]
    codec = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(name, name)
    put(tmp_path, f"a.{kind}", "".join(f"{line}\n" for line in lines).encode(codec))
    job = job_with(tmp_path, encoding=name)
    (file,) = list_input_files([f"a.{kind}"], tmp_path, job.config.input.encoding)
    rows = [row for piece in split_file(file, size) for _, row in read_split(piece)]
    assert [row["answer"] for row in rows] == texts


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_what_is_not_of_the_named_encoding_costs_one_row(tmp_path: Path, kind: str) -> None:
    lines = (
        ['{"answer": "春"}', '{"answer": "X"}', '{"answer": "雨"}'] if kind == "jsonl" else ["answer", "春", "X", "雨"]
    )
    put(tmp_path, f"a.{kind}", "".join(f"{line}\n" for line in lines).encode("gb18030").replace(b"X", b"\xff"))
    (file,) = list_input_files([f"a.{kind}"], tmp_path, "gb18030")
    first, broken, last = (row for piece in split_file(file) for _, row in read_split(piece))
    assert isinstance(first, dict) and isinstance(last, dict)
    assert isinstance(broken, Unreadable) and broken.reason.startswith(
        f"the {'line' if kind == 'jsonl' else 'row'} is not GB18030"
    )


def test_a_files_mark_goes_before_the_jobs_word(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + '{"answer": "春"}'.encode())
    (file,) = list_input_files(["a.jsonl"], tmp_path, "gb18030")
    assert [row for piece in split_file(file) for _, row in read_split(piece)] == [{"answer": "春"}]


def job_with(folder: Path, **keys: Any) -> Any:
    judge = {"engine": "scripted_judge:ScriptedJudge"}
    raw = {"name": "t", "input": {"paths": ["."], **keys}, "rubrics": ["article"], "judge": judge}
    return load_job(put(folder, "job.yaml", json.dumps(raw).encode()))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gb18300", "'gb18300' is no text encoding (did you mean gb18030?)"),
        ("rot13", "'rot13' is no text encoding"),
        ("cp037", "'cp037' cannot be read line by line; convert the files to UTF-8"),
        ("utf-7", "'utf-7' cannot be read line by line"),
        ("", "'' is no text encoding"),
    ],
)
def test_an_unknown_encoding_is_refused_with_the_nearest(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(FixJob) as refused:
        job_with(tmp_path, encoding=name)
    assert "job.yaml: input.encoding: " in str(refused.value) and said in str(refused.value)


def test_a_crawl_in_gb18030_is_judged_once_the_job_says_so(write_job: Any, tmp_path: Path, ray_cluster: None) -> None:
    put(tmp_path, "crawl/a.jsonl", hostile.coded("gb18030")("一"))
    put(tmp_path, "crawl/b.csv", hostile.csv("1,T三", "2,T四", encoding="gb18030", header="id,answer")("第"))
    job = write_job(**ARTICLES)
    assert main(["scan", str(job)]) == 0
    job = write_job(**ARTICLES | {"input": {"paths": ["crawl"], "encoding": "GBK"}})
    assert main(["run", str(job)]) == 0
    assert Counter(became(row) for row in verdicts(tmp_path)) == {JUDGED: 4}


# Too long, and what cannot be read at all


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        (
            "a.jsonl",
            b'{"answer": "' + b"x" * 5000 + b'"}\n{"answer": "y"}\n',
            ["the line is longer than 3,000 bytes", "y"],
        ),
        (
            "b.jsonl",  # read in several steps
            b'{"answer": "' + b"x" * 5_000_000 + b'"}\n{"answer": "y"}\n',
            ["the line is longer than 3,000 bytes", "y"],
        ),
        ("a.csv", b"answer\n" + b"x" * 9000 + b"\ny\n", ["the row is longer than 3,000 characters", "y"]),
        (
            "b.csv",
            b"id,answer\n" + b'1,"x\n' + b"2,y\n" * 900,
            ["the row is not CSV: a quote is opened and never closed", *"y" * 900],
        ),
        (
            "c.csv",
            b'answer\n"' + b"x\n" * 9000,
            ["the row is not CSV: a quote is opened and never closed (1,499 more", *"x" * 7500],
        ),
    ],
)
def test_a_line_without_end_costs_one_row_and_no_memory(
    tmp_path: Path, name: str, data: bytes, rows: list[str]
) -> None:
    put(tmp_path, name, data)
    (file,) = list_input_files([name], tmp_path)
    found = [
        row.reason if isinstance(row, Unreadable) else row["answer"]
        for piece in split_file(file)
        for _, row in read_split(piece, longest=3000)
    ]
    assert found[0].startswith(rows[0])
    assert found[1:] == rows[1:]


def test_an_input_of_which_no_file_can_be_read_is_refused(
    write_job: Any, tmp_path: Path, ray_cluster: None, capsys: Any
) -> None:
    put(tmp_path, "crawl/a.parquet", b"PAR1")
    (tmp_path / "crawl/b.jsonl").symlink_to("nowhere")
    assert main(["run", str(write_job(**ARTICLES))]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("coigw-judge: crawl/a.parquet: the file cannot be read as Parquet (")
    assert said.endswith("(nor can any other of the 2 files); correct input.paths or repair it")


@pytest.mark.parametrize("way", ["gone", "socket", "rights"])
def test_a_file_that_cannot_be_opened_is_refused_and_not_scanned_as_broken(tmp_path: Path, way: str) -> None:
    path = put(tmp_path, "a.jsonl", hostile.jsonl({"answer": "文"}))
    (piece,) = split_file(list_input_files(["a.jsonl"], tmp_path)[0])
    said = {"gone": "No such file", "socket": "No such device", "rights": "Permission denied"}[way]
    if way == "rights":
        if os.geteuid() == 0:
            pytest.skip("root may read anything")
        path.chmod(0)
    else:
        path.unlink()
    if way == "socket":
        with chdir(tmp_path), socket.socket(socket.AF_UNIX) as placed:  # a socket's path must be short
            placed.bind("a.jsonl")
    with pytest.raises(FixSource, match=rf"a\.jsonl: cannot be opened \(.*{said}"):
        list(read_split(piece))


# All of the naughty strings, in every field


FIELDS = ("id", "query", "thought", "answer", "genre", "title", "author", "url", "annotator")
CONTROLS = [chr(n) for n in (*range(32), 0x7F, 0x85, 0x2028, 0x2029, 0x202E, 0xFEFF, 0xFFFF, 0x1F600)]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_naughty_strings_in_every_field_come_out_as_they_went_in(
    write_job: Any, tmp_path: Path, shared_data: Path, ray_cluster: None, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (shared_data / "naughty_strings.jsonl").read_text(encoding="utf-8").splitlines()
    strings = [json.loads(line)["text"] for line in lines] + CONTROLS
    if form == "jsonl":
        strings = strings[::5]
    rows = [
        {name: f"{text}{n}" if name == "answer" else text for name in FIELDS} | {text or "empty": "as a key"}
        for n, text in enumerate(strings)
    ]
    job = write_job(rows, write=["all"], early_exit=False, screen={"encoding": "off"})
    assert main(["run", str(job), "--format", form]) == 0
    found = sorted(verdicts(tmp_path), key=lambda row: row["position"])
    assert len(found) == len(rows)
    out = {row["row_id"]: row for row in read_folders(latest(tmp_path), form)}
    assert len(out) == len(rows)
    for row, verdict in zip(rows, found, strict=True):
        record = to_record(row, {})
        assert isinstance(record, Record) and verdict["decision"] in ("kept", "dropped", "review")
        assert verdict["id"] == record.id and verdict["genre"] == record.genre
        assert {name: out[verdict["row_id"]][name] for name in row} == row | {"genre": row["genre"]}
    capsys.readouterr()
    for verdict in found[:: len(found) // 8]:
        assert main(["show", str(latest(tmp_path)), verdict["row_id"]]) == 0
        assert all(char.isprintable() or char == "\n" for char in capsys.readouterr().out)


def read_folders(run: Path, form: str) -> list[dict[str, Any]]:
    rows = []
    for folder in run.iterdir():
        if folder.is_dir() and folder.name != "verdicts":
            if form == "parquet":
                rows += pq.read_table(folder).to_pylist()
            else:
                rows += [
                    json.loads(line) for path in folder.iterdir() for line in path.read_bytes().split(b"\n") if line
                ]
    return rows


def test_check_names_stray_files_and_files_of_another_encoding(tmp_path: Path) -> None:
    from coigw_judge.scan.input_checks import of_first_rows

    put(tmp_path, "crawl/a.jsonl", hostile.coded("gb18030")("一"))
    put(tmp_path, "crawl/b.json.bz2", b"")
    files = list_input_files(["crawl"], tmp_path)
    (said,) = of_first_rows(files, {})
    assert said.startswith("crawl/a.jsonl: 2 of 2 rows are unreadable: the line is not UTF-8 (it reads as GB18030; ")
    assert [Path(path).name for path in stray_files(["crawl"], tmp_path)] == ["b.json.bz2"]


def test_a_uri_with_signs_of_its_own_is_read(tmp_path: Path) -> None:
    for name in ("a b.jsonl", "a%20b.jsonl", "a#b.jsonl", ".hidden.jsonl", "_temporary/a.jsonl"):
        put(tmp_path, f"crawl/{name}", hostile.jsonl({"answer": name}))
    files = list_input_files([f"file://{tmp_path}/crawl"], tmp_path)
    rows = [row["answer"] for file in files for piece in split_file(file) for _, row in read_split(piece)]
    assert sorted(rows) == ["a b.jsonl", "a#b.jsonl", "a%20b.jsonl"]
