"""Who is asked more than once, and what several samples come to: laws for any scores, and plan against an oracle."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest
from gates import SIX, cards, check_values, gates, score
from hypothesis import given
from hypothesis import strategies as st
from small import plan, rubric, stable, subject

from coigw_judge.decide.further_samples import Resampling, merged
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.errors import FixJob
from coigw_judge.job.fingerprints import resampling
from coigw_judge.job.job import load_job
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.presets import sampling
from coigw_judge.prompting.request import request_key, request_keys
from coigw_judge.prompting.samples import further
from coigw_judge.replies.outcome import Scored, Unscored

FAILED = Unscored(cause="malformed")

# Near


@given(gates(), cards(score), check_values(st.booleans()))
def test_who_misses_the_gate_by_the_band_is_near_it(gate: Gate, scores: dict, checks: dict) -> None:
    if gate.decide(scores, checks).decision == "review":
        assert gate.near(scores)


@given(gates(), cards(score))
def test_near_is_on_both_sides_of_a_threshold_and_no_farther_than_the_band(gate: Gate, scores: dict) -> None:
    found = gate.near(scores)
    by_total = (
        gate.total is not None
        and gate.review_total
        and abs(sum(scores.values()) - gate.total) <= gate.review_total - 1e-9
    )
    far = (
        gate.total is None or not gate.review_total or abs(sum(scores.values()) - gate.total) > gate.review_total + 1e-9
    )
    assert not by_total or found == tuple(SIX[:4])
    for name, value in scores.items():
        floor = gate.floor(name)
        close = floor is not None and gate.review_each > 0 and abs(value - floor) <= gate.review_each - 1e-9
        assert not close or name in found
        if far and name in found:
            assert floor is not None and gate.review_each > 0 and abs(value - floor) <= gate.review_each + 1e-9


@pytest.mark.parametrize(
    ("scores", "near"),
    [
        ((9, 9), ("a.x", "a.y")),  # sum 18 in 16..18
        ((10, 9), ("a.y",)),
        ((10, 10), ()),
        ((10, 6), ("a.x", "a.y")),
        ((10, None), ()),  # a sum is not near while a score is not known
        ((7, None), ("a.x",)),
    ],
)
def test_one_dimension_is_near_or_all_are_where_their_sum_is(scores: tuple[float, ...], near: tuple[str, ...]) -> None:
    gate = Gate(total=17, each=8, over=("a.x", "a.y"), review_total=1, review_each=1)
    assert gate.near(dict(zip(gate.over, scores, strict=True))) == near


def test_a_band_of_none_is_none() -> None:
    assert Gate(total=16, each=8, over=("a.x", "a.y")).near({"a.x": 8, "a.y": 8}) == ()
    assert Gate(each=8, review_each=1).near({"a.x": 7}) == ("a.x",), "a gate over all that is given"


# Due, and merged

A = rubric("a", dimensions=("x", "y"))
B = rubric("b", reads=("query", "answer"), dimensions=("x",), checks=("ok",))
C = rubric("c", checks=("ok",))
LATER = rubric("later", notes=("n",))
OVER = ("a.x", "a.y", "b.x")
GATE = Gate(each=8, over=OVER, require=("c.ok",), review_each=1, tops=dict.fromkeys(OVER, 10))
OK = Scored(checks={"ok": True})


def card(ax: float, ay: float, bx: float | None, ok: bool = True) -> Scorecard:
    b = FAILED if bx is None else Scored(scores={"x": bx}, checks={"ok": True})
    return Scorecard({"a": Scored(scores={"x": ax, "y": ay}), "b": b, "c": Scored(checks={"ok": ok})})


@pytest.mark.parametrize(
    ("samples", "scores", "due"),
    [
        (Resampling(borderline=3), (10, 10, 10), {}),
        (Resampling(borderline=3), (10, 9, 10), {"a": 3}),
        (Resampling(borderline=3), (10, 10, 7), {"b": 3}),
        (Resampling(borderline=3), (7, 10, 8.5), {"a": 3, "b": 3}),
        (Resampling(borderline=3), (6.9, 8, 8), {}),  # dropped
        (Resampling(borderline=3), (8, 8, 8, False), {}),  # a check failed
        (Resampling(borderline=3), (8, 8, None), {}),  # it will be unscored
        (Resampling(count=2, borderline=2), (10, 10, 8), {"a": 2, "b": 2}),
        (Resampling(count=2, borderline=4), (10, 10, 8), {"a": 2, "b": 4}),
        (Resampling(count=2, borderline=4), (6, 10, 8), {}),
        (Resampling(count=2, borderline=4, dropped=True), (6, 10, 8), {"a": 2, "b": 2}),
        (Resampling(), (8, 8, 8), {}),
    ],
)
def test_further_samples_are_due_near_a_threshold_of_the_rubrics_that_hold_it(
    samples: Resampling, scores: tuple, due: dict
) -> None:
    assert samples.due(card(*scores), GATE) == due, "rubric c gives no score: there is nothing to take a median of"


def test_all_rubrics_of_a_sum_are_asked_where_it_is_near() -> None:
    gate = replace(GATE, each=None, total=27, review_total=1)
    assert Resampling(borderline=3).due(card(9, 9, 9), gate) == {"a": 3, "b": 3}
    lacking = Scorecard({"a": Scored(scores={"x": 8, "y": 9}), "c": OK}, ("b",))
    assert Resampling(borderline=3).due(lacking, GATE) == {"a": 3}, "what does not apply is not asked"


outcomes = (
    st.integers(0, 10).map(lambda n: Scored(scores={"x": float(n)}, reasons={"x": str(n)}))
    | st.just(FAILED)
    | st.none()
)


@given(st.integers(0, 10), st.lists(outcomes, max_size=5), st.sampled_from(["median", "mean"]))
def test_scores_come_to_the_median_or_mean_of_what_was_scored(first: int, others: list, use: Any) -> None:
    before = Scorecard(
        {"a": Scored(scores={"x": float(first)}, checks={"ok": True}, reasons={"x": "因"}), "c": None}, ("d",)
    )
    found = merged(before, {"a": others}, use)
    values = [float(first), *(each.scores["x"] for each in others if isinstance(each, Scored))]
    assert found.scores() == {"a.x": (median if use == "median" else fmean)(values)}
    assert min(values) <= found.scores()["a.x"] <= max(values)
    assert (found.checks(), found.reasons(), found.facts["c"], found.not_applicable) == (
        {"a.ok": True},
        {"a.x": "因"},
        None,
        ("d",),
    )
    assert found.spread == ({"a.x": max(values) - min(values)} if len(values) > 1 else {})
    assert found.samples == ({"a": len(values)} if len(values) > 1 else {})
    assert found.failed() == {}, "a further sample that failed makes nothing unscored"


def test_samples_are_numbered_from_2_because_1_is_repeats() -> None:
    assert (list(further(1)), list(further(2)), list(further(3))) == ([], [2], [2, 3])


# The plan


@st.composite
def walks(draw: st.DrawFn) -> tuple[Plan, Any, dict[tuple[str, int], Scored | Unscored]]:
    """A plan, a record, and what the judge would answer to every sample of every rubric."""
    gate = Gate(
        total=draw(st.none() | st.integers(10, 28)),
        each=draw(st.none() | st.integers(5, 9)),
        over=OVER,
        require=draw(st.sampled_from([(), ("c.ok",)])),
        review_total=draw(st.sampled_from([0, 2])),
        review_each=draw(st.sampled_from([0, 1])),
        tops=dict.fromkeys(OVER, 10),
    )
    early = draw(st.booleans())
    samples = Resampling(
        count=draw(st.integers(1, 3)),
        borderline=draw(st.integers(3, 4)),
        use=draw(st.sampled_from(["median", "mean"])),
        dropped=not early,
    )
    rubrics = draw(st.permutations([A, B, C]))
    some = plan(
        *rubrics, then=[LATER], gate=gate, early_exit=early, samples=samples, repeat=draw(st.sampled_from([0.0, 1.0]))
    )
    scores = st.integers(5, 10).map(float)

    def outcome(name: str) -> Scored | Unscored:
        if draw(st.integers(0, 11)) == 0:
            return FAILED
        described = next(r for r in (A, B, C, LATER) if r.name == name)
        return Scored(
            scores={d.key: draw(scores) for d in described.dimensions},
            checks={c.key: draw(st.integers(0, 5)) > 0 for c in described.checks},
        )

    answers = {(r.name, sample): outcome(r.name) for r in (A, B, C, LATER) for sample in range(5)}
    return some, draw(st.sampled_from([subject(), subject(query="题")])), answers


def run(some: Plan, who: Any, answers: dict) -> tuple[dict, list[tuple[str, int]]]:
    facts: dict[bytes, Any] = {}
    asked: list[tuple[str, int]] = []
    while needs := some.next(who, facts):
        assert len(asked) < 60 and not any(need.key in facts for need in needs)
        facts |= {need.key: answers[need.rubric, need.sample] for need in needs}
        asked += [(need.rubric, need.sample) for need in needs]
    return facts, asked


@given(walks())
def test_a_walk_with_further_samples_ends_and_a_second_asks_nothing(walk: Any) -> None:
    some, who, answers = walk
    facts, asked = run(some, who, answers)
    assert len(asked) == len(set(asked)) and some.next(who, facts) == []
    single = replace(some, samples=Resampling(), then=())
    first_facts, first_asked = run(single, who, answers)
    assert set(first_asked) <= set(asked), "the first samples are those that one sample alone would be"
    due = some.samples.due(single.card(who, first_facts), some.gate)
    extra = {(name, sample) for name, sample in asked if sample > 1}
    assert extra == {(name, sample) for name, n in due.items() for sample in further(n)}
    values = {
        name: [answers[name, sample] for sample in (0, *further(due.get(name, 1)))]
        for name in ("a", "b")
        if (name, 0) in asked
    }
    middle = median if some.samples.use == "median" else fmean
    for name, samples in values.items():
        for key in ("x", "y") if name == "a" else ("x",):
            scored = [each.scores[key] for each in samples if isinstance(each, Scored)]
            if isinstance(samples[0], Scored):
                assert some.card(who, facts).scores()[f"{name}.{key}"] == pytest.approx(middle(scored))


@given(walks(), st.integers(0, 6))
def test_a_walk_that_was_broken_off_among_further_samples_goes_on_there(walk: Any, stop: int) -> None:
    some, who, answers = walk
    facts, _ = run(some, who, answers)
    part = dict(list(facts.items())[:stop])
    while needs := some.next(who, part):
        part |= {need.key: answers[need.rubric, need.sample] for need in needs}
    assert part.keys() == facts.keys()


@given(walks())
def test_then_follows_what_all_samples_come_to(walk: Any) -> None:
    some, who, answers = walk
    facts, asked = run(some, who, answers)
    decision = some.card(who, facts).decide(some.gate).decision
    assert (("later", 0) in asked) == (decision in ("kept", "review"))


@given(walks())
def test_a_failed_further_sample_never_makes_a_record_unscored(walk: Any) -> None:
    some, who, answers = walk
    broken = {place: FAILED if place[1] > 1 else outcome for place, outcome in answers.items()}
    facts, _ = run(some, who, broken)
    one, _ = run(replace(some, samples=Resampling()), who, answers)
    single = replace(some, samples=Resampling())
    assert some.card(who, facts).final(some.gate, True)[0] == single.card(who, one).final(some.gate, True)[0]


def test_a_median_may_turn_a_decision_both_ways() -> None:
    some = plan(A, gate=replace(GATE, over=("a.x", "a.y"), require=()), samples=Resampling(borderline=3))
    for first, others, decision in (
        (9.0, (7.0, 6.0), "review"),
        (7.0, (9.0, 8.0), "kept"),
        (8.0, (5.0, 6.0), "dropped"),
    ):
        answers = {("a", 0): first, ("a", 2): others[0], ("a", 3): others[1]}
        facts, asked = run(some, subject(), {place: Scored(scores={"x": x, "y": 10}) for place, x in answers.items()})
        assert asked == [("a", 0), ("a", 2), ("a", 3)]
        assert some.card(subject(), facts).final(some.gate, True)[0] == decision
    assert some.card(subject(), facts).decide(some.gate).reasons[0].text == "a.x 6 < 8"


# Keys and requests


def test_what_a_further_sample_is_drawn_at_is_in_its_key_and_in_no_others() -> None:
    def keys(temperature: float) -> list[bytes]:
        some = plan(A, samples=Resampling(borderline=3, temperature=temperature))
        return [some.need(A, subject(), None, sample).key for sample in range(4)]

    one, other, plain = keys(0.7), keys(0.9), [plan(A).need(A, subject(), None, sample).key for sample in range(2)]
    assert one[:2] == other[:2] == plain, "samples 0 and 1 are asked as they ever were"
    assert len({*one, *other}) == 6
    assert plan(A, samples=Resampling(count=5, borderline=9, use="mean")).need(A, subject(), None, 3).key == one[3]


@given(
    st.binary(min_size=16, max_size=16),
    st.none() | st.text(max_size=5),
    st.integers(0, 9),
    st.sampled_from([None, 0.1, 0.7, 1.0]),
)
def test_keys_in_columns_are_the_keys_one_by_one(
    home: bytes, guidance: str | None, sample: int, temperature: float | None
) -> None:
    homes = [home, stable("a"), stable("b")]
    columns = request_keys(
        "ask", [np.frombuffer(b"".join(homes), np.uint8).reshape(-1, 16)], guidance, sample, temperature
    )
    alone = [request_key("ask", A, {"answer": each}, guidance, sample, None, temperature) for each in homes]
    assert [each.tobytes() for each in columns] == alone


@given(
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=40),
    *[st.none() | st.sampled_from([0.1, 0.7, 7.0, 70.0])] * 2,
)
def test_no_cut_reads_as_a_temperature(
    cut: bytes | None, other_cut: bytes | None, one: float | None, other: float | None
) -> None:
    digests = {"answer": stable("a")}
    same = request_key("ask", A, digests, None, 2, cut, one) == request_key(
        "ask", A, digests, None, 2, other_cut, other
    )
    assert same == ((cut, one) == (other_cut, other))
    words = b"temperature 0.7"
    assert request_key("ask", A, digests, None, 2, words) != request_key("ask", A, digests, None, 2, None, 0.7)


# The job


def job(write_job: Callable[..., Path], **keys: Any) -> Any:
    gate = {"total": 50, "each": 8, "review": {"total": 2, "each": 1}}
    return load_job(write_job([], **{"gate": gate, **keys}))


@pytest.mark.parametrize(
    ("samples", "judge", "wanted"),
    [
        ({}, {}, Resampling()),
        ({"borderline": 3}, {}, Resampling(1, 3, "median", 0.7)),
        ({"count": 2}, {}, Resampling(2, 2, "median", 0.7)),
        ({"count": 2, "borderline": 5, "use": "mean", "temperature": 0.4}, {}, Resampling(2, 5, "mean", 0.4)),
        ({"borderline": 3}, {"thinking": True}, Resampling(1, 3, "median", 0.6)),
        ({"borderline": 3}, {"sampling": {"temperature": 1.1}}, Resampling(1, 3, "median", 1.1)),
    ],
)
def test_a_job_says_how_often_and_how(write_job: Any, samples: dict, judge: dict, wanted: Resampling) -> None:
    loaded = job(
        write_job, samples=samples, judge={"engine": "endpoint", "base_url": "http://a/v1", "model": "m", **judge}
    )
    assert resampling(loaded) == wanted
    assert resampling(load_job(loaded.path, ["early_exit=false"])) == replace(wanted, dropped=True)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"samples": {"count": 3, "borderline": 2}}, "borderline: 2 is less than count: 3"),
        ({"samples": {"borderline": 0}}, "samples.borderline"),
        ({"samples": {"temperature": 0}}, "samples.temperature"),
        ({"samples": {"use": "max"}}, "samples.use"),
        ({"samples": {"borderlin": 3}}, "did you mean borderline"),
        ({"samples": {"borderline": 3}, "gate": {"each": 8}}, "samples.borderline needs gate.review"),
        (
            {"samples": {"borderline": 3}, "gate": {"each": 8, "review": {"total": 2}}},
            "samples.borderline needs gate.review",
        ),
        ({"samples": {"count": 2}, "rubrics": ["removal"], "gate": {"require": ["removal"]}}, "have no dimension"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_plain_words(write_job: Any, keys: dict, said: str) -> None:
    with pytest.raises(FixJob, match=said) as caught:
        job(write_job, **keys)
    assert "job.yaml" in str(caught.value) and len(str(caught.value).splitlines()) <= 2


def test_a_gate_goes_by_samples_or_by_expected_scores(write_job: Any) -> None:
    both = {"samples": {"borderline": 3}, "expected": True}
    gate = {"each": 7, "review": {"each": 1}}
    with pytest.raises(FixJob, match=r"gate\.use: expected .* a gate decides on one of them"):
        job(write_job, **both, gate={**gate, "use": "expected"})
    assert job(write_job, **both, gate=gate).config.expected


@pytest.mark.parametrize("body", [{"temperature": 0}, {"seed": 7}, {"temperature": None}])
def test_a_body_that_draws_all_samples_alike_is_refused(write_job: Any, body: dict) -> None:
    judge = {"engine": "endpoint", "base_url": "http://a/v1", "model": "m", "extra_body": body}
    with pytest.raises(FixJob, match=r"judge\.extra_body sets temperature or seed"):
        job(write_job, samples={"borderline": 3}, judge=judge)
    job(write_job, judge=judge)
    job(write_job, samples={"borderline": 3}, judge={**judge, "extra_body": {"seed": None}})


def test_how_often_changes_nothing_that_the_first_samples_are_asked(write_job: Any) -> None:
    """Neither the fingerprints nor the configuration under which the store keeps them know of samples."""
    from coigw_judge.job.fingerprints import ask_fingerprint, configuration_digest
    from coigw_judge.judges.engines import engine_of

    plain = job(write_job)
    several = load_job(plain.path, ["samples={count: 2, borderline: 4, use: mean, temperature: 0.3}"])
    for one, other in zip(plain.rubrics, several.rubrics, strict=True):
        who = engine_of(plain.config.judge).identify()
        assert ask_fingerprint(plain, one, who) == ask_fingerprint(
            several, other, engine_of(several.config.judge).identify()
        )
        assert configuration_digest(plain, one) == configuration_digest(several, other)


def test_a_further_sample_is_drawn_at_its_own_temperature() -> None:
    plain, thinking = JudgeConfig(model="m"), JudgeConfig(model="Qwen/Qwen3-8B", thinking=True)
    assert sampling(plain, 0, 0.4) == {"temperature": 0.4}
    assert sampling(plain, 1, 0.4) == {"temperature": 0.7}, "a reply that gave no score is drawn at 0.7 at least"
    assert sampling(thinking, 0, 0.9) == {"temperature": 0.9, "top_p": 0.95, "top_k": 20}


def test_the_body_for_a_server_has_temperature_and_seed() -> None:
    from asking import an_ask, config

    from coigw_judge.judges.endpoint.chat_form import Chat

    chat = Chat(config("http://a/v1"))
    bodies = [
        chat.request(replace(an_ask(), sample=sample, temperature=at)).body
        for sample, at in ((0, None), (2, 0.7), (3, 0.7))
    ]
    assert [(body["temperature"], body["seed"]) for body in bodies] == [(0, 0), (0.7, 2000), (0.7, 3000)]
    assert json.dumps(bodies[1]["messages"]) == json.dumps(bodies[0]["messages"])
