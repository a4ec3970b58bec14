"""The facts on disk: what was flushed is there, whole, once, and the earliest scored fact of a key wins."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from full_disk import no_room
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs
from small import stable

from coigw_judge.errors import FixStore
from coigw_judge.replies.outcome import Scored, Unscored, from_values
from coigw_judge.storage.hash_ranges import span
from coigw_judge.store.fact import DECIDING_COLUMNS, SCHEMA, Fact, outcomes
from coigw_judge.store.half_done import HalfDoneFacts, write_half_done
from coigw_judge.store.parts import Store
from coigw_judge.store.writer import Writer, moment

FULL = Scored(
    scores={"quality": 8.5},
    reasons={"quality": "因为“好”"},
    checks={"ok": False},
    choices={"genre": "诗歌"},
    notes={"n": "注\x00"},
    flags=("head_tail:answer 12034",),
)
FAILED = Unscored(cause="truncated", raw='{"quality"', detail="stopped after 9 tokens", flags=("head_tail:query 7",))
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def fact(key: str = "k", answer: Scored | Unscored = FULL, **more: Any) -> Fact:
    plain: dict[str, Any] = {
        "key": stable(key),
        "record": stable(f"record of {key}"),
        "home": stable(f"home of {key}"),
        "rubric": "answer",
        "rubric_fingerprint": "rubric1",
        "judge_fingerprint": "judge1",
        "sample": 0,
        "outcome": answer,
        "finish_reason": "stop",
        "attempt": 1,
        "prompt_tokens": 30,
        "cached_tokens": 20,
        "generated_tokens": 10,
        "seconds": 0.5,
    }
    return Fact(**{**plain, **more})


def part(store: Store, name: str, *rows: tuple[Fact, datetime]) -> None:
    """Write a part by hand, under a name and with times of our choice."""
    target = Path(store.path("parts"))
    target.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([fact.row("run", created_at) for fact, created_at in rows], schema=SCHEMA)
    pq.write_table(table, target / name)


def scored(value: float) -> Scored:
    return Scored(scores={"quality": value})


def values(store: Store, **how: Any) -> dict[bytes, float | str]:
    """Every key's score, or the cause why it has none."""
    found = outcomes(store.read(**how))
    return {k: f.scores["quality"] if isinstance(f, Scored) else f.cause for k, f in found.items()}


HOME = b"\x80" + b"h" * 15
"""In the second of two buckets."""


def known_scores(scores: dict[bytes, int], folder: Path | None = None) -> HalfDoneFacts:
    """Facts of one home, in memory or in files that are mapped."""
    rows = [{**fact(answer=scored(score)).row("run", NOON), "key": key} for key, score in sorted(scores.items())]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).select(DECIDING_COLUMNS)
    if folder is None:
        return HalfDoneFacts(table)
    store = Store(str(folder))
    write_half_done(store.filesystem, store.path(), 1, table)
    return HalfDoneFacts(table.slice(0, 0), store.filesystem, store.path(), 2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "facts"))


def test_a_fact_comes_back_as_it_was(store: Store) -> None:
    writer = Writer(store, "run1")
    writer.append(fact("a"))
    writer.append(fact("b", FAILED, finish_reason="length"))
    assert len(store.read()) == 0, "nothing is durable before the flush"
    assert writer.flush() == 2
    assert outcomes(store.read()) == {stable("a"): FULL, stable("b"): Unscored(cause="truncated", flags=FAILED.flags)}
    (row,) = (row for row in store.read(SCHEMA.names).to_pylist() if row["key"] == stable("b"))
    assert from_values(row) == FAILED
    assert (row["prompt_tokens"], row["cached_tokens"], row["generated_tokens"]) == (30, 20, 10)
    assert (row["attempt"], row["seconds"], row["run"], row["finish_reason"]) == (1, 0.5, "run1", "length")
    assert abs(row["created_at"] - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_columns_are_those_of_the_contract() -> None:
    promised = (
        "key record rubric rubric_fingerprint judge_fingerprint sample scores reasons notes choices checks expected "
        "raw finish_reason cause attempt prompt_tokens cached_tokens generated_tokens seconds created_at run"
    )
    assert set(promised.split()) <= set(SCHEMA.names)
    assert (SCHEMA.field("key").type, SCHEMA.field("record").type) == (pa.binary(16), pa.binary(16))


def test_an_empty_store_reads_as_no_facts(store: Store) -> None:
    assert store.read().num_rows == 0
    assert store.parts() == []
    assert Writer(store, "run").flush() == 0
    assert store.parts() == []
    assert HalfDoneFacts(store.read(DECIDING_COLUMNS)).find(stable("r"), [stable("k")]) == {}


def test_each_flush_is_one_part_and_names_sort_by_time(store: Store) -> None:
    one, other = Writer(store, "run"), Writer(store, "run")
    for n, writer in enumerate((one, other, one, one)):
        writer.append(fact(str(n)))
        writer.flush()
    assert len(store.parts()) == 4
    names = [part.name for part in store.parts()]
    assert names == sorted(names)
    writers = Counter(name.split("-")[1] for name in names)
    assert sorted(writers.values()) == [1, 3]
    mine = [name for name in names if writers[name.split("-")[1]] == 3]
    assert [name[-14:-8] for name in mine] == ["000000", "000001", "000002"]
    assert all(name >= moment(60) for name in names)
    assert not any(name >= moment(-60) for name in names)


def test_facts_stay_with_the_writer_until_they_are_written(store: Store) -> None:
    writer = Writer(store, "run")
    writer.append(fact("a"))
    with no_room(), pytest.raises(FixStore, match=r"cannot be written \(.*[Ff]ile too large"):
        writer.flush()
    assert store.parts() == []
    writer.append(fact("b"))
    assert writer.flush() == 2
    assert len(store.read()) == 2


class Slow(fs.FSSpecHandler):
    """A file system, as of objects, on which something else happens while a file is written."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__(LocalFileSystem(auto_mkdir=True))
        self.meanwhile = meanwhile

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self.meanwhile()
        return super().open_output_stream(path, metadata)


def test_what_came_while_a_flush_was_writing_waits_for_the_next(store: Store) -> None:
    later = [fact("b")]
    store.filesystem = fs.PyFileSystem(Slow(lambda: writer.append(later.pop()) if later else None))
    writer = Writer(store, "run")
    writer.append(fact("a"))
    assert writer.flush() == 1 and not later
    assert list(values(store)) == [stable("a")]
    assert writer.flush() == 1
    assert len(store.read()) == 2


def test_the_earliest_fact_of_a_key_wins(store: Store) -> None:
    part(store, "1.parquet", (fact("k", scored(3)), NOON), (fact("other", scored(1)), NOON))
    part(store, "2.parquet", (fact("k", scored(2)), NOON - timedelta(microseconds=1)))
    assert values(store) == {stable("k"): 2, stable("other"): 1}


def test_at_the_same_time_the_first_part_wins(store: Store) -> None:
    part(store, "2.parquet", (fact("k", scored(2)), NOON))
    part(store, "1.parquet", (fact("k", scored(1)), NOON))
    assert values(store) == {stable("k"): 1}


def test_a_scored_fact_beats_an_earlier_failure(store: Store) -> None:
    part(store, "1.parquet", (fact("k", FAILED), NOON), (fact("failed", FAILED), NOON))
    part(store, "2.parquet", (fact("k", scored(7)), NOON + timedelta(days=1)))
    part(
        store,
        "3.parquet",
        (fact("k", scored(8)), NOON + timedelta(days=2)),
        (fact("k", FAILED), NOON - timedelta(days=2)),
    )
    assert values(store) == {stable("k"): 7, stable("failed"): "truncated"}


@settings(max_examples=25)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.none() | st.integers(0, 10)), min_size=1, max_size=6
        ),
        max_size=4,
    )
)
def test_which_fact_wins_is_the_same_for_any_parts(tmp_path_factory: pytest.TempPathFactory, parts: list) -> None:
    store = Store(str(tmp_path_factory.mktemp("facts")))
    best: dict[str, tuple[Any, ...]] = {}
    for number, rows in enumerate(parts):
        facts = []
        for place, (key, hour, score) in enumerate(rows):
            facts.append((fact(key, FAILED if score is None else scored(score)), NOON + timedelta(hours=hour)))
            rank = (score is None, hour, number, place, "truncated" if score is None else score)
            best[key] = min(best.get(key, rank), rank)
        part(store, f"{number}.parquet", *facts)
    assert values(store) == {stable(key): rank[-1] for key, rank in best.items()}
    assert store.read(["key"])["key"].to_pylist() == sorted(stable(key) for key in best)


def test_half_written_and_hidden_files_are_no_parts(store: Store) -> None:
    part(store, "1.parquet", (fact("k", scored(1)), NOON))
    folder = Path(store.path("parts"))
    for name in (".2.parquet.77.tmp", ".3.parquet", "4.parquet.tmp", "5.txt"):
        (folder / name).write_bytes(b"torn")
    (folder / "6.parquet").mkdir()
    assert values(store) == {stable("k"): 1}


def test_a_torn_write_leaves_no_part(store: Store) -> None:
    writer = Writer(store, "run")
    writer.append(fact())
    with no_room(), pytest.raises(FixStore, match="make room or mend it"):
        writer.flush()
    assert list(Path(store.path("parts")).iterdir()) == []


@pytest.mark.parametrize("content", ["garbage", "empty", "another table", "another type"])
def test_a_file_that_is_no_part_is_refused_by_name(store: Store, content: str) -> None:
    part(store, "1.parquet", (fact("k", scored(1)), NOON))
    path = Path(store.path("parts", "2.parquet"))
    if content == "another table":
        pq.write_table(pa.table({"key": ["x"]}), path)
    elif content == "another type":
        pq.write_table(pa.table({name: ["x"] for name in SCHEMA.names}), path)
    else:
        path.write_bytes(b"" if content == "empty" else b"PAR1 no table PAR1")
    with pytest.raises(FixStore, match=r"2\.parquet: is not a readable part of a store \(.*\); move it away"):
        store.read()


def test_a_part_from_before_a_column_is_read_beside_newer_ones(store: Store) -> None:
    part(store, "1.parquet", (fact("old"), NOON))
    path = Path(store.path("parts", "1.parquet"))
    pq.write_table(pq.read_table(path).drop_columns(["flags"]), path)
    part(store, "2.parquet", (fact("new"), NOON))
    assert outcomes(store.read()) == {stable("old"): replace(FULL, flags=()), stable("new"): FULL}
    assert store.read(["flags", "key"]).column_names == ["flags", "key"]
    pq.write_table(pq.read_table(path).drop_columns(["notes"]), path)
    with pytest.raises(FixStore, match=r"1\.parquet: is not a readable part of a store \(it lacks notes\)"):
        store.read()


def test_reading_by_bucket_gives_every_fact_once_beside_its_record(store: Store) -> None:
    rows = [(fact(f"{n}", scored(n), home=stable(f"home {n % 6}")), NOON) for n in range(18)]
    part(store, "1.parquet", *rows[:9])
    part(store, "2.parquet", *rows[9:])
    pieces = [store.read(["key", "home"], wanted=span(n, 4)) for n in range(4)]
    keys = [key for piece in pieces for key in piece["key"].to_pylist()]
    assert sorted(keys) == sorted(stable(f"{n}") for n in range(18))
    homes = [set(piece["home"].to_pylist()) for piece in pieces]
    assert sum(map(len, homes)) == len(set().union(*homes)) == 6


def test_only_facts_of_the_rubrics_and_judges_in_question_are_read(store: Store) -> None:
    for n, (rubric, judge) in enumerate([("r1", "j1"), ("r1", "j2"), ("r2", "j1"), ("r2", "j2")]):
        part(store, f"{n}.parquet", (fact(f"{n}", rubric_fingerprint=rubric, judge_fingerprint=judge), NOON))
    assert store.read(fingerprints=[("r1", "j2"), ("r2", "j1")]).num_rows == 2
    assert store.read(fingerprints=[]).num_rows == 0
    assert store.read().num_rows == 4


def test_older_parts_may_be_left_out(store: Store) -> None:
    part(store, f"{moment(3600)}-a-0.parquet", (fact("old"), NOON))
    part(store, f"{moment()}-a-1.parquet", (fact("new"), NOON))
    assert store.read(since=moment(60))["key"].to_pylist() == [stable("new")]


@settings(max_examples=30)
@given(
    st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(0, 10), max_size=8),
    st.binary(min_size=16, max_size=16),
)
def test_known_facts_are_looked_up_by_their_key(
    tmp_path_factory: pytest.TempPathFactory, facts: dict[bytes, int], other: bytes
) -> None:
    wanted = {key: scored(score) for key, score in facts.items()}
    for known in (known_scores(facts), known_scores(facts, tmp_path_factory.mktemp("known"))):
        assert known.find(HOME, [*facts, other]) == wanted
        assert known.find(HOME, []) == {}


def test_keys_that_end_in_zeros_are_told_apart(tmp_path: Path) -> None:
    keys = [b"a" + b"\0" * 15, b"a" * 16, b"\0" * 16, b"\xff" * 15 + b"\0"]
    for known in (known_scores(facts := {key: n for n, key in enumerate(keys)}), known_scores(facts, tmp_path)):
        found = known.find(HOME, [*keys, b"a" + b"\0" * 14 + b"b"])
        assert {key: outcome.scores["quality"] for key, outcome in found.items()} == facts


def test_half_a_character_in_a_reply_does_not_stop_the_flush(store: Store) -> None:
    writer = Writer(store, "run")
    writer.append(fact("a", Scored(scores={"quality": 8}, raw="半\ud83d字")))
    writer.append(fact("b", Unscored(cause="malformed", raw="\udfff", detail="\ud800")))
    assert writer.flush() == 2
    assert [row["raw"] for row in store.read(["raw", "key"]).sort_by("raw").to_pylist()] == ["?", "半?字"]


def test_asks_are_kept_by_configuration(store: Store) -> None:
    assert store.read_asks("c1") is None
    store.write_asks("c1", {"ask": "文", "identity": {"engine": "vllm"}})
    store.write_asks("c1", {"ask": "文2", "identity": {"engine": "vllm"}})
    assert store.read_asks("c1") == {"ask": "文2", "identity": {"engine": "vllm"}}
    assert store.read_asks("c2") is None


def test_a_token_shows_who_sees_the_same_store(store: Store, tmp_path: Path) -> None:
    token = store.place_token()
    assert Store(store.root).sees_token(token)
    assert not Store(str(tmp_path / "elsewhere")).sees_token(token)
    store.drop_token(token)
    assert not store.sees_token(token)


def test_a_store_at_a_uri_is_a_store(store: Store) -> None:
    there = Store(f"file://{store.root}/")
    writer = Writer(there, "run")
    writer.append(fact("a", scored(5)))
    writer.flush()
    there.write_asks("c", {"ask": "x"})
    assert values(store) == values(there) == {stable("a"): 5}
    assert store.read_asks("c") == {"ask": "x"}
