"""Expected scores beside the sampled ones: in facts and verdicts, under the gate, and in what a job may say."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bucket_rows import by_id, decide, open_rows, view
from hypothesis import given
from hypothesis import strategies as st
from run_output import asks, latest, manifest, triplets, verdicts
from small import plan, rubric

from coigw_judge.cli import show
from coigw_judge.cli.main import main
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.errors import FixJob, FixJudge
from coigw_judge.fill.expected import check_gives_expected, with_expected
from coigw_judge.job.fingerprints import ask_fingerprint
from coigw_judge.job.job import load_job
from coigw_judge.judges.protocol import Identity, Reply
from coigw_judge.people.calibration import cheapest_gate
from coigw_judge.replies.outcome import Scored
from coigw_judge.select import sweep

TWO = rubric("two", dimensions=("x", "y"))
ONE = rubric("one", reads=("query", "answer"), dimensions=("x",), checks=("ok",))
OVER = ("two.x", "two.y", "one.x")
SAMPLED = Gate(total=20, each=6, over=OVER, require=("one.ok",), tops=dict.fromkeys(OVER, 10))
EXPECTED = replace(SAMPLED, use="expected")


def two(x: float, y: float, *expected: float | None) -> Scored:
    flags = tuple(f"expected_crosses:{key}" for key, value in zip("xy", expected, strict=False) if value is None)
    return Scored(scores={"x": x, "y": y}, expected=dict(zip("xy", expected, strict=False)), flags=flags)


def one(x: float, expected: float | None) -> Scored:
    return Scored(scores={"x": x}, checks={"ok": True}, expected={"x": expected})


def test_a_card_gives_what_the_gate_uses() -> None:
    card = Scorecard({"two": two(8, 6, 7.5, None), "one": None})
    assert card.scores() == {"two.x": 8, "two.y": 6}
    assert card.scores("expected") == {"two.x": 7.5, "two.y": 6}, "the sampled score stands in"
    assert card.expected() == {"two.x": 7.5}
    assert Scorecard({"two": Scored(scores={"x": 8})}).scores("expected") == {"two.x": 8}


def test_the_gate_decides_on_unrounded_expected_scores() -> None:
    card = Scorecard({"two": two(6, 9, 5.999, 9.0), "one": one(9, 9.5)})
    assert card.decide(SAMPLED).decision == "kept"
    decision = card.decide(EXPECTED)
    assert (decision.decision, [reason.text for reason in decision.reasons]) == ("dropped", ["two.x 5.999 < 6"])
    assert decision.total == pytest.approx(24.499)
    lifted = Scorecard({"two": two(5, 9, 6.25, 9.0), "one": one(9, 9.5)})
    assert (lifted.decide(SAMPLED).decision, lifted.decide(EXPECTED).decision) == ("dropped", "kept")


def test_early_exit_and_its_floor_see_the_same_numbers() -> None:
    sampled = plan(TWO, ONE, gate=SAMPLED, floor=6)
    expected = replace(sampled, gate=EXPECTED)
    low = Scorecard({"two": two(6, 9, 5.5, 9.0), "one": None})
    assert not sampled.ends(low) and expected.ends(low)
    high = Scorecard({"two": two(5, 9, 6.5, 9.0), "one": None})
    assert sampled.ends(high) and not expected.ends(high)
    assert not replace(expected, floor=5).ends(low), "below the gate, not below the floor"


ROWS: list[Any] = [
    {"id": name, "answer": f"文{name}", "query": "题"} for name in ("sure", "below", "above", "lacks", "open", "half")
]
FACTS = {
    "sure": {"two": two(8, 8, 8.0, 8.0), "one": one(8, 8.0)},
    "below": {"two": two(8, 8, 5.5, 8.0), "one": one(8, 8.0)},
    "above": {"two": two(5, 8, 6.5, 8.0), "one": one(8, 8.0)},
    "lacks": {"two": two(8, 8, None, 8.0), "one": one(8, 8.0)},
    "half": {"two": two(8, 8, 7.0, 8.0)},
}


def test_verdicts_carry_expected_scores_and_say_where_there_are_none(tmp_path: Path) -> None:
    some = plan(TWO, ONE, gate=SAMPLED)
    rows, counts = decide(view(tmp_path, [ROWS], some, FACTS), tmp_path)
    found = by_id(rows)
    assert dict(found["below"]["expected"]) == {"two.x": 5.5, "two.y": 8, "one.x": 8}
    assert dict(found["lacks"]["expected"]) == {"two.x": None, "two.y": 8, "one.x": 8}
    assert not found["open"]["expected"]
    assert {name: row["flags"] for name, row in found.items() if row["flags"]} == {"lacks": ["expected_crosses"]}
    assert counts.expected.model_dump() == {"given": 13, "missing": {"crosses": 1}}
    assert {name: row["decision"] for name, row in found.items()} == {
        "sure": "kept", "below": "kept", "above": "dropped", "lacks": "kept", "open": "pending", "half": "pending",
    }  # fmt: skip


def test_fill_select_and_sweep_agree_on_expected_scores(tmp_path: Path) -> None:
    some = plan(TWO, ONE, gate=EXPECTED)
    seen = view(tmp_path, [ROWS], some, FACTS)
    rows, counts = decide(seen, tmp_path)
    found = by_id(rows)
    assert {name: row["decision"] for name, row in found.items()} == {
        "sure": "kept", "below": "dropped", "above": "kept", "lacks": "kept", "open": "pending", "half": "pending",
    }  # fmt: skip
    assert found["below"]["total"] == pytest.approx(21.5) and found["below"]["two.x"] == 8, (
        "a score's column stays sampled"
    )
    assert found["lacks"]["flags"] == ["expected_crosses", "expected_missing"] and counts.flags["expected_missing"] == 1
    assert open_rows(seen, tmp_path) == [(0, 4), (0, 5)]
    grid = {"total": (20.0, 21.6), "each": (5.0, 6.0, 7.0)}
    for yielded in sweep.yields(EXPECTED, grid, [sweep.count_patterns(seen, bucket) for bucket in range(seen.buckets)]):
        gate = replace(EXPECTED, total=yielded.total, each=yielded.each)
        moved = replace(seen, plan=replace(some, gate=gate))
        told = by_id(decide(moved, tmp_path / f"{yielded.total}-{yielded.each}")[0])
        assert yielded.kept == sum(row["decision"] == "kept" for row in told.values())


def test_facts_of_before_have_no_expected_scores_and_the_row_says_so(tmp_path: Path) -> None:
    facts = {"sure": {"two": Scored(scores={"x": 8, "y": 8}), "one": one(8, 8.0)}}
    rows, _ = decide(view(tmp_path, [ROWS[:1]], plan(TWO, ONE, gate=EXPECTED), facts), tmp_path)
    assert (rows[0]["decision"], rows[0]["flags"]) == ("kept", ["expected_missing"])


number = st.floats(3, 10).map(lambda value: round(value, 6))
fact = st.tuples(number, number, st.none() | number).map(lambda s: two(round(s[0]), round(s[1]), s[0], s[2]))


@given(st.lists(st.tuples(st.none() | fact, st.none() | number.map(lambda v: one(round(v), v))), max_size=12))
def test_a_sweep_keeps_what_the_gate_keeps(cards: list[Any]) -> None:
    found = [Scorecard({"two": first, "one": second}) for first, second in cards]
    counted = [{text: 1} for text in (sweep.pattern_of(card, EXPECTED) for card in found)]
    for yielded in sweep.yields(EXPECTED, {"total": (15.0, 20.0, 25.5), "each": (4.0, 6.0, 8.5)}, counted):
        gate = replace(EXPECTED, total=yielded.total, each=yielded.each)
        decisions = [card.decide(gate).decision for card in found]
        assert (yielded.kept, yielded.judged) == (decisions.count("kept"), len(found))


def test_a_sweep_tells_no_more_cards_apart_than_its_gates_can(tmp_path: Path) -> None:
    rows = [{"id": str(n), "answer": f"文{n}", "query": "题"} for n in range(200)]
    facts = {str(n): {"two": two(8, 8, 8 + n / 1e6, 7.5), "one": one(8, 8.0)} for n in range(200)}
    seen = view(tmp_path, [rows], plan(TWO, ONE, gate=EXPECTED), facts)
    counted = sweep.count_patterns(seen, 0)
    assert len(counted) == 1 and sum(counted.values()) == 200


def test_calibration_counts_rows_by_expected_scores() -> None:
    rows = [(8, 8, 7.994, 8.1), (8, 8, 7.0, None), (9, 9, None, None), (5, 9, 8.5, 8.5), (8, None, 7.999999, None)]
    table = pa.table(
        {
            "decision": ["kept"] * len(rows),
            "not_applicable": pa.array([[]] * len(rows), pa.list_(pa.string())),
            "two.x": pa.array([row[0] for row in rows], pa.float64()),
            "two.y": pa.array([row[1] for row in rows], pa.float64()),
            "expected": pa.array(
                [[("two.x", row[2]), ("two.y", row[3])] for row in rows], pa.map_(pa.string(), pa.float64())
            ),
        }
    )
    swept = Gate(over=("two.x", "two.y"), tops={"two.x": 10, "two.y": 10}, use="expected")
    assert set(cheapest_gate.columns_of(swept)) <= set(table.column_names)
    stands = cheapest_gate.reach(table, swept)
    assert stands.known.tolist() == [True, True, True, True, False]
    assert stands.total.tolist() == [16.09, 15.0, 18.0, 17.0, 17.99] and stands.least.tolist() == [
        7.99,
        7.0,
        9.0,
        8.5,
        7.99,
    ]
    for total, each in ((16.09, 7.99), (16.1, 5.0), (15.0, 7.0), (15.0, 7.01)):
        gate = Gate(total=total, each=each, over=swept.over, use="expected")
        cards = [Scorecard({"two": two(row[0], row[1], row[2], row[3])}) for row in rows[:4]]
        kept = [card.decide(gate).decision == "kept" for card in cards]
        assert ((stands.total >= total) & (stands.least >= each))[:4].tolist() == kept


def test_an_outcome_takes_what_the_reply_has_and_says_what_it_lacks() -> None:
    outcome = Scored(scores={"x": 8, "y": 7}, flags=("head_tail:answer 9",))
    reply = Reply(expected={"x": 7.9, "y": None}, expected_missing={"y": "probe_failed"})
    found = with_expected(outcome, reply, TWO)
    assert found.expected == {"x": 7.9, "y": None} and found.flags == ("head_tail:answer 9", "expected_probe_failed:y")
    odd = with_expected(outcome, Reply(expected={"x": float("nan"), "y": 11.0}), TWO)
    assert odd.expected == {"x": None, "y": None} and odd.flags[1:] == (
        "expected_out_of_range:x",
        "expected_out_of_range:y",
    )
    assert with_expected(outcome, Reply(), TWO).flags[1:] == ("expected_not_given:x", "expected_not_given:y")


def test_a_judge_that_gives_none_is_refused_before_the_crawl() -> None:
    check_gives_expected(Reply(), False)
    check_gives_expected(Reply(expected={"x": None}), True)
    with pytest.raises(FixJudge, match="gives no expected scores; leave `expected: true` out"):
        check_gives_expected(Reply(), True)


# What a job may say

REFUSED = [
    ({"gate": {"each": 8, "use": "expected"}}, "gate.use: expected needs `expected: true`"),
    (
        {"expected": True, "judge": {"engine": "endpoint", "model": "m", "base_url": "http://h/v1"}},
        "use judge.engine: vllm",
    ),
    (
        {"expected": True, "judge": {"model": "embedded", "engine_args": {"logprobs_mode": "raw_logits"}}},
        "leave engine_args.logprobs_mode out",
    ),
    ({"expected": True, "judge": {"model": "embedded", "engine_args": {"max_logprobs": 5}}}, "needs 20 probabilities"),
    ({"gate": {"each": 8, "use": "exact"}}, "gate.use: "),
]


@pytest.mark.parametrize(("keys", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_can_not_be_had_is_refused(write_job: Callable[..., Path], keys: dict[str, Any], words: str) -> None:
    with pytest.raises(FixJob) as caught:
        load_job(write_job([], **keys))
    assert words in str(caught.value) and "\n" not in str(caught.value) and "job.yaml" in str(caught.value)


def test_only_requests_that_give_scores_become_others(write_job: Callable[..., Path]) -> None:
    identity = Identity(engine="e", model="m", revision=None, fingerprint="f")

    def prints(**keys: Any) -> dict[str, str]:
        job = load_job(write_job([], **{"rubrics": ["answer", "coherence"], "gate": {"total": 10}, **keys}))
        return {each.name: ask_fingerprint(job, each, identity) for each in job.all_rubrics}

    plain, off, on = prints(), prints(expected=False), prints(expected=True)
    used = prints(expected=True, gate={"total": 10, "use": "expected"})
    assert plain == off and on == used
    assert on["answer"] != plain["answer"] and on["coherence"] == plain["coherence"]


# The route

GATE = {"total": 50, "each": 8}


def scripted(tmp_path: Path, **expected: float | None) -> dict[str, Any]:
    options = {"log": str(tmp_path / "asks.log"), "expected": expected}
    return {"engine": "scripted_judge:ScriptedJudge", "options": options}


@pytest.mark.usefixtures("ray_cluster")
def test_from_sampled_to_expected_nothing_is_asked_again(
    tmp_path: Path, write_job: Callable[..., Path], capsys: Any
) -> None:
    judge = scripted(tmp_path, answer=1.5, query=None)
    job = write_job(triplets(20), judge=judge, expected=True, early_exit=False, gate={"each": 7})
    assert main(["run", str(job)]) == 0
    made, before = len(asks(tmp_path)), verdicts(tmp_path)
    assert made == 60
    told = manifest(tmp_path)
    assert told["expected"] == {"given": 80, "missing": {"crosses": 40}}
    assert "expected scores: 80, missing: crosses 40" in capsys.readouterr().out
    for row in before:
        expected = dict(row["expected"])
        assert expected["answer.quality"] == row["answer.quality"] - 1.5 and expected["query.quality"] is None
        assert row["flags"] == ["expected_crosses"]
    facts = [fact for path in (tmp_path / "facts" / "parts").iterdir() for fact in pq.read_table(path).to_pylist()]
    assert {fact["rubric"] for fact in facts if dict(fact["expected"]) == {"quality": None, "creativity": None}} == {
        "query"
    }
    assert main(["run", str(job), "--set", "gate.use=expected"]) == 0
    assert len(asks(tmp_path)) == made
    after = verdicts(tmp_path)
    assert {row["decision"] for row in before} == {"kept"}, "the scripted judge's scores are 7 to 10"
    for row in after:
        lowest = min(
            row[f"{r}.{k}"] - (1.5 if r == "answer" else 0)
            for r in ("answer", "query", "thought")
            for k in ("quality", "creativity")
        )
        assert row["decision"] == ("kept" if lowest >= 7 else "dropped")
        assert row["flags"] == ["expected_crosses", "expected_missing"]
    assert sum(row["decision"] == "kept" for row in after) < sum(row["decision"] == "kept" for row in before)
    run = latest(tmp_path)
    kept = pq.read_table(run / "kept")
    assert kept.schema.field("expected").type == pa.map_(pa.string(), pa.float64())
    assert {row["row_id"]: dict(row["expected"]) for row in kept.to_pylist()} == {
        row["row_id"]: dict(row["expected"]) for row in after if row["decision"] == "kept"
    }
    row = after[0]["row_id"]
    tests = {test["item"]: test for test in show.find(str(run), row)["gate"]}
    assert tests["answer.quality"]["value"] == after[0]["answer.quality"] - 1.5
    assert tests["query.quality"]["value"] == after[0]["query.quality"]
    assert f"(expected {tests['answer.quality']['value']:.2f})" in show.as_text(show.find(str(run), row), 90)
    capsys.readouterr()
    assert main(["plan", str(job), "--json", "--set", "gate.use=expected"]) == 0
    assert {each["requests"] for each in json.loads(capsys.readouterr().out)["rubrics"]} == {0}


@pytest.mark.usefixtures("ray_cluster")
def test_early_exit_in_a_fill_goes_by_expected_scores(tmp_path: Path, write_job: Callable[..., Path]) -> None:
    """The first rubric's scores pass, its expected ones do not: nothing more is asked, and a second run asks nothing."""
    judge, none_in_full = scripted(tmp_path, answer=9), {"exhaustive": 0}
    job = write_job(triplets(12), judge=judge, expected=True, gate={"each": 5, "use": "expected"}, samples=none_in_full)
    assert main(["run", str(job)]) == 0
    assert [line.split()[0] for line in asks(tmp_path)] == ["answer"] * 12
    assert {row["decision"] for row in verdicts(tmp_path)} == {"dropped"}
    assert main(["run", str(job)]) == 0
    assert len(asks(tmp_path)) == 12
    assert main(["run", str(job), "--set", "gate.use=sampled"]) == 0
    assert len(asks(tmp_path)) == 36, "by the sampled scores the others are needed"


@pytest.mark.usefixtures("ray_cluster")
def test_a_judge_of_ones_own_that_gives_none_ends_at_the_self_test(
    tmp_path: Path, write_job: Callable[..., Path], capsys: Any
) -> None:
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"log": str(tmp_path / "asks.log")}}
    assert main(["run", str(write_job(triplets(2), judge=judge, expected=True))]) == 2
    told = capsys.readouterr().err
    assert "gives no expected scores" in told and "Traceback" not in told
