"""Inputs, store and output on S3: a real server that checks signatures, in a process of its own."""

import gzip
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import chaos
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from nodes import environment, kill_all, named, session_of, wait_for

from coigw_judge.cli.main import main
from coigw_judge.errors import FixSource, FixStore
from coigw_judge.input.jsonl_csv import READ_AHEAD
from coigw_judge.input.listing import list_input_files
from coigw_judge.input.splits import group_for_tasks, read_split, split_file, split_files
from coigw_judge.storage.paths import list_files, open_atomic, open_filesystem, write_atomic
from coigw_judge.store.parts import Store

TESTS = Path(__file__).parents[1]
BUCKET = "crawl"


class Server:
    """The server, its user's credentials, and what it was asked."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        self.url, self.key, self.secret = url, key, secret

    @property
    def settings(self) -> dict[str, str]:
        """What a user sets."""
        nothing = {
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        }
        own = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_ENDPOINT_URL": self.url}
        return {**nothing, **own, "AWS_REGION": "us-east-1"}

    def told(self) -> list[list[Any]]:
        """Requests since this was asked last: method, path with query, Range, status."""
        with urllib.request.urlopen(f"{self.url}/told") as answer:
            found: list[list[Any]] = json.load(answer)
        return found

    def refuse(self, words: str = "") -> None:
        """Answer 400 to requests whose path has these words; to none if empty."""
        urllib.request.urlopen(f"{self.url}/refuse?{words}").close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    command = [sys.executable, str(TESTS / "s3_server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield Server(**json.loads(process.stdout.readline()))
        process.stdin.close()


@pytest.fixture
def s3(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, with the environment of its user."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.settings.items():
        monkeypatch.setenv(name, value)
    server.told()
    return server


def put(path: str, data: bytes) -> None:
    filesystem, inner = open_filesystem(path)
    write_atomic(filesystem, inner, data)


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def triplets(start: int, stop: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"t{n}",
            "query": f"写第{n}件旧物",
            "thought": f"先想第{n}种",
            "answer": f"第{n}只表走得慢",
            "genre": "散文",
        }
        for n in range(start, stop)
    ]


# Everything, once


def write_job(folder: Path, **keys: Any) -> Path:
    job = {
        "name": "far",
        "input": {"paths": [f"s3://{BUCKET}/in/"]},
        "rubrics": ["answer", "query", "thought"],
        "gate": {"total": 50, "each": 8},
        "judge": {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(folder / "asks.log")}},
        "store": f"s3://{BUCKET}/facts",
        "out": f"s3://{BUCKET}/runs",
        "max_unscored": 1,
        **keys,
    }
    path = folder / f"{job['name']}.yaml"
    path.write_text(yaml.safe_dump(job, allow_unicode=True), encoding="utf-8")
    return path


def run_commands(server: Server, commands: list[list[str]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(TESTS / "s3_commands.py"), server.url],
        input=json.dumps(commands),
        env=environment(**server.settings),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_folder(done: dict[str, Any]) -> str:
    return re.search(r"run folder: (.+)", done["out"])[1]  # type: ignore[index]


@pytest.fixture(scope="module")
def everything(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A user's day: the same records here and on S3, judged, judged again, decided anew, compared, looked after."""
    folder = tmp_path_factory.mktemp("s3")
    here = folder / "in" / "deep 层"
    here.mkdir(parents=True)
    (folder / "in" / "a.jsonl").write_bytes(jsonl(triplets(0, 30)) + b"broken\n")
    (here / "b.jsonl.gz").write_bytes(gzip.compress(jsonl(triplets(20, 40))))
    pq.write_table(pa.Table.from_pylist(triplets(40, 60)), folder / "in" / "c.parquet", row_group_size=7)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.settings.items():
            patch.setenv(name, value)
        for file in sorted((folder / "in").rglob("*.*")):
            put(f"s3://{BUCKET}/in/{file.relative_to(folder / 'in')}", file.read_bytes())
    near = str(write_job(folder, name="near", input={"paths": ["in/"]}, store="facts", out="runs"))
    far = str(write_job(folder))
    store = f"s3://{BUCKET}/facts"
    commands = [
        ["run", near],
        ["plan", far],
        ["run", far],
        ["run", far, "--format", "jsonl"],
        ["select", far, "--set", "gate.total=20"],
        ["select", far, "--sweep", "total=44:56:4"],
        ["diff", "@0", "@2"],
        ["show", "@2", f"s3://{BUCKET}/in/deep 层/b.jsonl.gz:0"],
        ["store", "stats", store],
        ["store", "verify", store],
        ["store", "compact", store, "--all"],
        ["run", far],
    ]
    names = ("near", "plan", "run", "again", "select", "sweep", "diff", "show", "stats", "verify", "compact", "after")
    return dict(zip(names, run_commands(server, commands), strict=True))


def test_every_command_works_on_s3(everything: dict[str, Any]) -> None:
    print({name: (done["seconds"], len(done["requests"])) for name, done in everything.items()})
    assert not {name: done for name, done in everything.items() if done["status"]}
    assert "71 rows" in everything["run"]["out"] and "0 made" in everything["again"]["out"]
    assert "0 made" in everything["after"]["out"], "after compaction nothing is asked again"
    assert "every part can be read" in everything["verify"]["out"]
    assert "第20只表走得慢" in everything["show"]["out"]


def decisions(folder: str, root: str) -> dict[str, tuple[Any, ...]]:
    filesystem, inner = open_filesystem(folder)
    tables = [
        pq.read_table(path, filesystem=filesystem) for path in list_files(filesystem, f"{inner}/verdicts", ".parquet")
    ]
    rows = [row for table in tables for row in table.to_pylist()]
    assert all(row["row_id"].startswith(root) for row in rows)
    told = ((row, [reason.replace(root, "") for reason in row["reasons"]]) for row in rows)
    return {row["row_id"].removeprefix(root): (row["id"], row["decision"], row["total"], why) for row, why in told}


def test_a_run_on_s3_decides_as_one_on_disk_does(s3: Server, everything: dict[str, Any]) -> None:
    near, far = (run_folder(everything[name]) for name in ("near", "run"))
    here = decisions(near, "in/")
    assert len(here) == 71 and {decided for _, decided, *_ in here.values()} >= {
        "kept",
        "dropped",
        "duplicate",
        "unreadable",
    }
    assert decisions(far, f"s3://{BUCKET}/in/") == here


def test_kept_rows_lie_in_folders_as_parquet_and_jsonl(s3: Server, everything: dict[str, Any]) -> None:
    parquet, lines = (run_folder(everything[name]) for name in ("run", "again"))
    kept = [id_ for id_, decided, *_ in decisions(parquet, "").values() if decided == "kept"]
    filesystem, inner = open_filesystem(parquet)
    assert sorted(pq.read_table(f"{inner}/kept", filesystem=filesystem)["id"].to_pylist()) == sorted(kept)
    filesystem, inner = open_filesystem(lines)
    files = list_files(filesystem, f"{inner}/kept", ".jsonl")
    rows = [json.loads(line) for path in files for line in filesystem.open_input_stream(path).read().splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(kept)


def test_no_secret_is_written_down(s3: Server, everything: dict[str, Any]) -> None:
    filesystem, inner = open_filesystem(run_folder(everything["run"]))
    manifest = filesystem.open_input_stream(f"{inner}/manifest.json").read().decode()
    said = json.dumps(list(everything.values()))
    assert s3.secret not in manifest + said and s3.key not in manifest + said


def listings(done: dict[str, Any]) -> Counter[str]:
    """How often what was listed, by prefix. A look whether there is anything asks for one name only."""
    asked = [path for method, path, *_ in done["requests"] if method == "GET" and "max-keys=1000" in path]
    return Counter(unquote(re.search(r"prefix=([^&]*)", path)[1]) for path in asked)  # type: ignore[index]


def test_the_input_is_listed_once_and_the_parts_once_a_pass(everything: dict[str, Any]) -> None:
    for name in ("run", "again", "select"):
        found = listings(everything[name])
        assert found["in/"] == 1, found
        # run: the survey of either round, the estimate, the actor's look back, select; without a fill: survey, select.
        assert found["facts/parts/"] <= {"run": 5, "again": 2, "select": 1}[name], found


# Who may, and where


FORMS = {
    "the environment": lambda s: ({}, ""),
    "the endpoint of s3 alone": lambda s: ({"AWS_ENDPOINT_URL": None, "AWS_ENDPOINT_URL_S3": s.url}, ""),
    "parameters of the URI": lambda s: (
        {"AWS_ENDPOINT_URL": None, "AWS_REGION": None}, f"?endpoint_override={s.url}&region=us-east-1"
    ),
    "a host and a scheme": lambda s: (
        {"AWS_ENDPOINT_URL": None}, f"?endpoint_override={s.url.removeprefix('http://')}&scheme=http"
    ),
    "a profile": lambda s: (
        {
            "AWS_ENDPOINT_URL": None, "AWS_REGION": None, "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
            "AWS_PROFILE": "crawl", "AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials",
        },
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_credentials_and_endpoint_as_users_have_them(
    s3: Server, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(f"[crawl]\naws_access_key_id={s3.key}\naws_secret_access_key={s3.secret}\n")
    (tmp_path / "config").write_text(f"[profile crawl]\nregion=us-east-1\nendpoint_url={s3.url}\n")
    monkeypatch.chdir(tmp_path)
    changed, query = FORMS[form](s3)
    for name, value in changed.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    name = form.replace(" ", "-")
    put(f"s3://{BUCKET}/forms/{name}.jsonl{query}", jsonl([{"answer": name}]))
    (file,) = list_input_files([f"s3://{BUCKET}/forms/{name}*{query}"], tmp_path)
    assert file.name == f"s3://{BUCKET}/forms/{name}.jsonl", "an id bears no endpoint"
    assert [row for _, row in read_split(split_file(file)[0])] == [{"answer": name}]


MISTAKES = {
    "a wrong secret": ({"AWS_SECRET_ACCESS_KEY": "geheim"}, {}, "store: s3://crawl/facts: cannot be reached"),
    "a wrong key": ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, {}, "store: s3://crawl/facts: cannot be reached"),
    "a server that is not there": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, {}, "store: s3://crawl/facts: cannot be reached"),
    "no bucket for the store": ({}, {"store": "s3://none/facts"}, "store: s3://none/facts: there is no bucket none"),
    "no bucket for the output": ({}, {"out": "s3://none/runs"}, "out: s3://none/runs: there is no bucket none"),
    "no bucket for the input": ({}, {"input": {"paths": ["s3://none/x/*.jsonl"]}}, "input.paths: s3://none/x: there is no bucket"),
    "no file of the input": ({}, {"input": {"paths": [f"s3://{BUCKET}/x/*.jsonl"]}}, "input.paths: s3://crawl/x/*.jsonl: no such file"),
    "keys before the bucket": ({}, {"store": "s3://AKIA:geheim@crawl/facts"}, "store: the URI holds credentials"),
    "keys in the input": ({}, {"input": {"paths": ["s3://AKIA:geheim@crawl/*.jsonl"]}}, "input.paths: a URI holds credentials"),
    "a key as a parameter": ({}, {"out": "s3://crawl/runs?secret_key=geheim"}, "out: the URI holds credentials"),
    "an unknown parameter": ({}, {"out": "s3://crawl/runs?endpoint=x"}, "did you mean endpoint_override?"),
}  # fmt: skip


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_two_lines_and_no_secret(
    s3: Server, mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, keys, words = MISTAKES[mistake]
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    assert main(["scan", str(write_job(tmp_path, **keys))]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) <= 2 and "Traceback" not in said
    assert "geheim" not in said and s3.secret not in said


@pytest.mark.parametrize("command", [["store", "stats"], ["show"], ["diff"]])
def test_a_look_at_what_can_not_be_reached_says_so(
    s3: Server, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    more = {"show": ["1"], "diff": [f"s3://{BUCKET}/b"]}.get(command[0], [])
    assert main([*command, f"s3://{BUCKET}/a", *more]) == 2
    assert "cannot be reached" in capsys.readouterr().err


# Whole or not at all


def test_a_small_file_is_one_request_and_a_large_one_several(s3: Server) -> None:
    filesystem, inner = open_filesystem(f"s3://{BUCKET}/whole")
    s3.told()
    write_atomic(filesystem, f"{inner}/small", b"x" * 1000)
    assert [(method, path) for method, path, *_ in s3.told()] == [("PUT", f"/{BUCKET}/whole/small")]
    large = os.urandom(25 << 20)
    write_atomic(filesystem, f"{inner}/large", large)
    assert sum("partNumber" in path for _, path, *_ in s3.told()) == 3
    assert filesystem.open_input_stream(f"{inner}/large").read() == large


def test_what_fails_while_it_is_written_is_never_seen(s3: Server) -> None:
    filesystem, inner = open_filesystem(f"s3://{BUCKET}/torn")
    s3.told()
    with pytest.raises(KeyboardInterrupt), open_atomic(filesystem, f"{inner}/a") as file:
        file.write(b"x" * (12 << 20))
        raise KeyboardInterrupt
    assert not s3.told(), "nothing was sent"
    s3.refuse("partNumber=2")
    try:
        with pytest.raises(FixStore, match="torn/b: cannot be written"):
            write_atomic(filesystem, f"{inner}/b", b"x" * (25 << 20))
    finally:
        s3.refuse()
    assert not list_files(filesystem, inner, ""), "an upload of which a part failed is not completed"


# Reading


def test_a_listing_of_more_than_a_thousand_is_one_walk(s3: Server, tmp_path: Path) -> None:
    filesystem, inner = open_filesystem(f"s3://{BUCKET}/many")
    line = jsonl([{"answer": "春"}])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_atomic(filesystem, f"{inner}/{n % 7}/{n:05d}.jsonl", line), range(1100)))
    s3.told()
    files = list_input_files([f"s3://{BUCKET}/many/*/*.jsonl"], tmp_path)
    assert len(files) == 1100 and {file.size for file in files} == {len(line)}
    assert [method for method, *_ in s3.told()] == ["GET", "GET"], "a request for a thousand, and no look at a file"
    pieces = split_files(files)
    assert not s3.told(), "small text files are not opened to be cut"
    shares = group_for_tasks(enumerate(pieces))
    assert 10 < len(shares) < 40 and [n for share in shares for n in share] == list(range(1100))
    assert not list_input_files([f"s3://{BUCKET}/many/0/*.jsonl"], tmp_path)[0].name.startswith("s3://crawl/many/1")
    with pytest.raises(FixSource, match="no such file or match"):
        list_input_files([f"s3://{BUCKET}/many/*.jsonl"], tmp_path)


def spanned(told: list[list[Any]]) -> int:
    """Bytes that were asked for; a GET without a range would be the whole file."""
    ranges = [re.fullmatch(r"bytes=(\d+)-(\d+)", asked) for method, _, asked, _ in told if method == "GET"]
    assert all(ranges), told
    return sum(int(each[2]) - int(each[1]) + 1 for each in ranges if each)


def test_a_piece_of_a_large_file_is_read_by_ranges_and_not_the_rest(s3: Server, tmp_path: Path) -> None:
    size = 2 * READ_AHEAD
    rows = [{"id": n, "answer": "春" * (n % 5000)} for n in range(8000)]
    data = jsonl(rows)
    put(f"s3://{BUCKET}/huge.jsonl", data)
    (file,) = list_input_files([f"s3://{BUCKET}/huge.jsonl"], tmp_path)
    pieces = split_file(file, size)
    assert len(pieces) == -(-len(data) // size) > 3
    found: list[Any] = []
    for piece in pieces:
        s3.told()
        found += [row for _, row in read_split(piece)]
        told = s3.told()
        assert spanned(told) <= size + READ_AHEAD
        assert sum(method == "GET" for method, *_ in told) <= 7, "a request is a read-ahead, not a line"
    assert found == rows


def test_a_packed_file_is_streamed_in_large_steps(s3: Server, tmp_path: Path) -> None:
    rows = [{"answer": os.urandom(10_000).hex()} for _ in range(3000)]
    packed = gzip.compress(jsonl(rows), 1)
    assert len(packed) > 3 * READ_AHEAD
    put(f"s3://{BUCKET}/packed.jsonl.gz", packed)
    (file,) = list_input_files([f"s3://{BUCKET}/packed.jsonl.gz"], tmp_path)
    s3.told()
    assert [row for _, row in read_split(split_file(file)[0])] == rows
    told = s3.told()
    assert sum(method == "GET" for method, *_ in told) <= len(packed) // READ_AHEAD + 2
    assert spanned(told) <= len(packed) + READ_AHEAD


def test_parquet_on_s3_is_cut_at_row_groups_and_read_by_columns(s3: Server, tmp_path: Path) -> None:
    table = pa.table({"answer": [f"第{n}篇" for n in range(4000)], "waste": [os.urandom(2000) for _ in range(4000)]})
    pq.write_table(table, tmp_path / "wide.parquet", row_group_size=1000)
    put(f"s3://{BUCKET}/wide.parquet", (tmp_path / "wide.parquet").read_bytes())
    (file,) = list_input_files([f"s3://{BUCKET}/wide.parquet"], tmp_path)
    (piece,) = split_file(file)
    s3.told()
    assert [row["answer"] for _, row in read_split(piece, ["answer"])] == table["answer"].to_pylist()
    assert spanned(s3.told()) < 1 << 20, "the other column was not fetched"


# Kills


@pytest.mark.slow
def test_a_killed_run_on_s3_asks_only_what_was_not_flushed(s3: Server, tmp_path: Path) -> None:
    rows = 150  # a flush to S3 is awaited by every few blocks
    store = f"s3://{BUCKET}/killed/facts"
    log = tmp_path / "asks.log"
    judge = {"engine": "scripted_judge:ScriptedJudge", "concurrency": 8, "options": {"log": str(log), "seconds": 0.05}}
    put(f"s3://{BUCKET}/killed/in.jsonl", jsonl(triplets(0, rows)))
    keys: dict[str, Any] = {"input": {"paths": [f"s3://{BUCKET}/killed/in.jsonl"]}, "store": store, "early_exit": False}
    job = write_job(tmp_path, name="killed", judge=judge, out=f"s3://{BUCKET}/killed/runs", **keys)

    def asked() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    driver = chaos.Driver(job, tmp_path / "driver.log", s3.settings)
    wait_for(lambda: bool(Store(store).parts()) or driver.ended() is not None, "facts are on S3")
    assert driver.ended() is None, (tmp_path / "driver.log").read_text()[-2000:]
    driver.kill()
    wait_for(lambda: not named(session_of(driver.process.pid), "JudgeActor"), "the actors notice, flush and leave")
    kill_all(session_of(driver.process.pid))  # Ray's agents take their time
    kept, before = Store(store).read(["key"]).num_rows, len(asked())
    assert 0 < kept < 3 * rows
    again = chaos.Driver(job, tmp_path / "driver.log", s3.settings)
    assert again.wait(300) == 0, (tmp_path / "driver.log").read_text()[-2000:]
    assert len(asked()) - before == 3 * rows - kept
    assert Store(store).read(["key"]).num_rows == 3 * rows
    kill_all(session_of(again.process.pid))
