"""Compaction, verify and stats: many parts become few and nothing is lost, whatever happens in between."""

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import stable

from coigw_judge.cli.main import main
from coigw_judge.errors import FixStore
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.storage.hash_ranges import span
from coigw_judge.store import verify
from coigw_judge.store.compaction import Sizes, compact
from coigw_judge.store.fact import SCHEMA, Fact
from coigw_judge.store.parts import Part, Store
from coigw_judge.store.writer import ROLL_UP, Writer, moment

DAY = 24 * 3600


def fact(name: str, score: float | None = 7.0, rubric: str = "answer", judge: str = "judge1") -> Fact:
    outcome = (
        Unscored(cause="truncated")
        if score is None
        else Scored(scores={"quality": score}, reasons={"quality": "因"}, raw=Random(name).randbytes(400).hex())
    )
    return Fact(
        key=stable(name), record=stable(f"record of {name}"), home=stable(f"home of {name}"), rubric=rubric, rubric_fingerprint=f"r:{rubric}", judge_fingerprint=judge,
        sample=0, outcome=outcome, finish_reason="stop", attempt=0, prompt_tokens=10, cached_tokens=5, generated_tokens=3, seconds=0.5,
    )  # fmt: skip


def write(store: Store, facts: list[Fact], per_part: int = 3, roll_up: int = ROLL_UP) -> None:
    writer = Writer(store, "run", roll_up)
    for number, new in enumerate(facts, 1):
        writer.append(new)
        if number % per_part == 0:
            writer.flush()
    writer.flush()


def everything(store: Store) -> list[dict[str, Any]]:
    return store.read(SCHEMA.names).to_pylist()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "facts"))


def test_compaction_keeps_every_fact_and_leaves_few_parts(store: Store) -> None:
    small = Sizes(group_bytes=20_000, facts_at_once=20, part_facts=60)
    write(store, [fact(f"{n}") for n in range(200)])
    before = everything(store)
    counts = compact(store, all_parts=True, sizes=small)
    assert (counts["facts"], counts["left"]) == (200, 0)
    assert len(store.parts()) == counts["parts_after"] == 4
    assert everything(store) == before
    for n in range(7):
        wanted = {row["key"] for row in before if int.from_bytes(row["home"][:4], "big") * 7 >> 32 == n}
        assert set(store.read(("key",), wanted=span(n, 7))["key"].to_pylist()) == wanted
    write(store, [fact(f"late {n}") for n in range(5)])
    assert len(everything(store)) == 205
    assert compact(store, all_parts=True, sizes=small)["facts"] < 205, (
        "large parts are not written again for a few facts"
    )
    assert len(everything(store)) == 205
    assert verify.verify(store).sound


def test_young_parts_are_left_to_the_job_that_writes_them(store: Store) -> None:
    write(store, [fact(f"{n}") for n in range(9)])
    counts = compact(store)
    assert (counts["parts_before"], counts["left"]) == (0, 3)
    assert store.read(since=moment(60)).num_rows == 9


def test_a_compaction_that_is_cut_off_changes_nothing(store: Store) -> None:
    write(store, [fact(f"{n}") for n in range(9)])
    before = everything(store)

    in_the_way = Path(store.path("compactions"))
    in_the_way.symlink_to("nowhere")
    with pytest.raises(FixStore, match=r"compactions/.*: cannot be written"):
        compact(store, all_parts=True)
    assert everything(store) == before
    assert [each.kind for each in verify.verify(store).findings] == ["leftover"]
    in_the_way.unlink()
    assert compact(store, all_parts=True)["facts"] == 9
    assert everything(store) == before


def test_what_is_replaced_is_deleted_a_day_later(store: Store) -> None:
    write(store, [fact(f"{n}") for n in range(9)])
    before = everything(store)
    assert compact(store, all_parts=True)["deleted"] == 0
    assert len(store.loose_files()) == 3
    (done,) = Path(store.path("compactions")).iterdir()
    assert compact(store)["deleted"] == 0
    done.rename(done.with_name(f"{moment(DAY + 60)}-{done.name.partition('-')[2]}"))
    assert compact(store)["deleted"] == 3
    assert store.loose_files() == []
    assert everything(store) == before


def test_what_a_killed_process_left_half_written_is_deleted_a_day_later(store: Store) -> None:
    write(store, [fact("a")])
    left, fresh = (Path(store.path("parts", f".{name}.parquet.7.tmp")) for name in ("old", "new"))
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - DAY - 60,) * 2)
    assert compact(store)["deleted"] == 1
    assert not left.exists() and fresh.exists()


class Stale(Store):
    """A store whose first listings are from before."""

    def __init__(self, root: str, *listings: list[Part]) -> None:
        super().__init__(root)
        self.listings = list(listings)

    def parts(self) -> list[Part]:
        return self.listings.pop() if self.listings else super().parts()


def test_a_reader_whose_parts_are_deleted_lists_again(store: Store) -> None:
    write(store, [fact(f"{n}") for n in range(9)])
    stale = store.parts()
    compact(store, all_parts=True)
    for part in stale:
        Path(part.path).unlink()
    reader = Stale(store.root, stale)
    assert reader.read().num_rows == 9 and not reader.listings


def test_two_compactions_at_once_leave_copies_that_nobody_sees(store: Store) -> None:
    write(store, [fact(f"{n}") for n in range(9)])
    before, stale = everything(store), store.parts()
    compact(store, all_parts=True)
    compact(Stale(store.root, stale), all_parts=True)
    assert everything(store) == before
    assert [each.kind for each in verify.verify(store).findings] == ["doubled"]
    write(store, [fact("more")], 1)
    write(store, [fact("and more" + "更" * 2000)], 1)
    compact(store, all_parts=True)
    assert len(everything(store)) == len(before) + 2


def test_facts_come_in_while_others_are_compacted(store: Store) -> None:
    """Two writers and a compactor at once: what was flushed is read, each key once."""
    done = threading.Event()

    def compacting() -> None:
        while not done.is_set():
            compact(Store(store.root), sizes=Sizes(settled_seconds=-1))

    def writing_facts(name: str) -> None:
        write(Store(store.root), [fact(f"{name} {n}") for n in range(150)], 2, roll_up=8)

    compactor = threading.Thread(target=compacting)
    writers = [threading.Thread(target=writing_facts, args=(name,)) for name in "ab"]
    for thread in (compactor, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    compactor.join()
    assert store.read(("key",)).num_rows == 300
    assert verify.verify(store).sound


def test_a_writer_rolls_its_small_parts_up(store: Store) -> None:
    began = moment()
    write(store, [fact(f"{n}") for n in range(23)], 2, roll_up=4)
    assert len(store.loose_files()) > len(store.parts()) <= 4 + 1
    assert len(everything(store)) == 23
    assert store.read(since=began).num_rows == 23, "what was rolled up is as new as when it was"
    assert verify.verify(store).findings == ()


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 9)), max_size=60), st.integers(1, 5))
def test_rolled_up_compacted_or_as_they_came_facts_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, given_facts: list[tuple[int, int | None]], per_part: int
) -> None:
    facts = [fact(f"{key}", score) for key, score in given_facts]
    plain, rolled = (Store(str(tmp_path_factory.mktemp("facts"))) for _ in range(2))
    write(plain, facts, per_part)
    write(rolled, facts, per_part, roll_up=2)
    columns = ("key", "scores", "cause")
    assert rolled.read(columns).to_pylist() == plain.read(columns).to_pylist()
    compact(rolled, all_parts=True)
    assert rolled.read(columns).to_pylist() == plain.read(columns).to_pylist()


def test_verify_names_what_is_wrong_and_what_to_do(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write(store, [fact(f"{n}") for n in range(6)], 2)
    write(store, [fact("0")], 1)
    folder = Path(store.path("parts"))
    first, *_ = sorted(folder.iterdir())
    (folder / "000000000000001-aaaaaaaa-000000.parquet").write_bytes(first.read_bytes()[:-20])
    pq.write_table(pa.table({"x": [1]}), folder / "000000000000002-aaaaaaaa-000000.parquet")
    (folder / ".000000000000003-aaaaaaaa-000000.parquet.7.tmp").write_bytes(b"half")
    (folder / "mine.parquet").write_bytes(first.read_bytes())
    found = verify.verify(store)
    assert sorted(each.kind for each in found.findings) == ["doubled", "foreign", "foreign", "leftover", "torn"]
    assert not found.sound
    assert main(["store", "verify", store.root]) == 1
    text = capsys.readouterr().out
    assert "asked again by the next fill" in text and "NOT SOUND" in text
    for name in ("000000000000001-aaaaaaaa-000000.parquet", "000000000000002-aaaaaaaa-000000.parquet", "mine.parquet"):
        (folder / name).unlink()
    assert main(["store", "verify", store.root, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sound"]


def test_verify_finds_a_compacted_part_that_is_gone_or_another(store: Store) -> None:
    write(store, [fact(f"{n}") for n in range(9)])
    compact(store, all_parts=True)
    (part,) = store.parts()
    table = pq.read_table(part.path)
    pq.write_table(table.take(pa.array(range(table.num_rows - 1, -1, -1))), part.path)
    assert [each.kind for each in verify.verify(store).findings] == ["foreign"]
    Path(part.path).unlink()
    assert [each.kind for each in verify.verify(store).findings] == ["lost"]


def test_stats_add_up_per_rubric_model_and_day(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    identity = {"engine": "vllm", "model": "Qwen/评审", "revision": None, "fingerprint": "judge1"}
    store.write_asks("c", {"ask": "x", "identity": identity})
    write(store, [fact(f"{n}", None if n == 0 else 7.0, "answer" if n % 2 else "query") for n in range(10)])
    write(store, [fact("other", judge="judge2")])
    rows = verify.stats(store)
    today = datetime.now(UTC).date()
    assert {row["day"] for row in rows} <= {f"{today}", f"{today - timedelta(days=1)}"}
    assert sum(row["facts"] for row in rows) == 11 and sum(row["prompt_tokens"] for row in rows) == 110
    assert {row["model"] for row in rows} == {"Qwen/评审", "judge2"}
    assert sum(row.get("failed.truncated", 0) for row in rows) == 1
    assert main(["store", "stats", store.root]) == 0
    text = capsys.readouterr().out
    assert "11 facts" in text and "Qwen/评审" in text and "query" in text


def test_a_path_that_is_no_store_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("stats", "verify", "compact"):
        assert main(["store", task, str(tmp_path / "nowhere")]) == 2
        assert "is no store" in capsys.readouterr().err
