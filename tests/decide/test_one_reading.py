"""One reading of a gate: deciding, explaining, choosing by labels and sweeping agree on drawn gates and records."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_run import make_run, scored, triplets

from coigw_judge.decide.gate import Assessment, Gate
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.errors import FixStore
from coigw_judge.job.gate import GateConfig, bind, bound_gate
from coigw_judge.people.calibration import cheapest_gate
from coigw_judge.prompting.rubric import load_rubric
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.run_folder import explain
from coigw_judge.run_folder.folder import open_run
from coigw_judge.run_folder.gate import gate_of
from coigw_judge.select import sweep

DIMENSIONS, CHECKS = {"a.x": 10.0, "a.y": 10.0, "b.x": 10.0}, ("b.ok", "c.one", "c.two")
ITEMS = [*DIMENSIONS, "a", "b"]
SCHEMA = pa.schema(
    [
        ("decision", pa.string()),
        ("not_applicable", pa.list_(pa.string())),
        *((name, pa.float64()) for name in DIMENSIONS),
        *((name, pa.bool_()) for name in CHECKS),
        ("expected", pa.map_(pa.string(), pa.float64())),
    ]
)

# Eighths have sums without rounding, so that two ways to add them may be compared.
least = st.integers(10, 40).map(lambda n: n / 4)
band = st.sampled_from([0, 0.5, 1, 2.5])
number = st.integers(16, 80).map(lambda n: n / 8)


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    """As a job binds them."""
    over = draw(st.none() | st.lists(st.sampled_from(ITEMS), min_size=1, unique=True))
    config = GateConfig(
        over=over,
        total=draw(st.none() | st.integers(0, 120).map(lambda n: n / 4)),
        each=draw(st.none() | least | st.dictionaries(st.sampled_from(ITEMS), least)),
        require=draw(st.lists(st.sampled_from([*CHECKS, "c"]), unique=True)),
        review={"total": draw(band), "each": draw(band)},
        use=draw(st.sampled_from(["sampled", "expected"])),
    )
    return bind(config, DIMENSIONS, CHECKS)


@st.composite
def facts(draw: st.DrawFn, scores: tuple[str, ...], checks: tuple[str, ...]) -> Scored | Unscored | None:
    if draw(st.booleans()) and draw(st.booleans()):
        return draw(st.sampled_from([None, Unscored(cause="truncated")]))
    return Scored(
        scores={name: draw(number) for name in scores},
        checks={name: draw(st.sampled_from([True, True, True, False])) for name in checks},
        expected={name: draw(st.none() | number) for name in scores},
    )


@st.composite
def cards(draw: st.DrawFn) -> Scorecard:
    """Rubrics that do not apply, were not asked, failed, or gave scores and checks."""
    asked = {"a": draw(facts(("x", "y"), ())), "b": draw(facts(("x",), ("ok",))), "c": draw(facts((), ("one", "two")))}
    lacking = draw(st.sampled_from([(), (), ("a",), ("c",), ("a", "b"), ("a", "b", "c")]))
    return Scorecard({name: fact for name, fact in asked.items() if name not in lacking}, lacking)


def verdict(card: Scorecard, gate: Gate) -> dict[str, Any]:
    """What select writes of a card."""
    nothing = dict.fromkeys((*DIMENSIONS, *CHECKS))
    return {
        **nothing, **card.scores(), **card.checks(),
        "decision": card.final(gate, complete=True)[0], "expected": card.expected(), "not_applicable": [*card.not_applicable],
        "asked": card.asked(), "skipped": card.not_asked(),
    }  # fmt: skip


@settings(max_examples=150)
@given(gates(), cards())
def test_an_explanation_says_what_was_decided(gate: Gate, card: Scorecard) -> None:
    decided, told = card.decide(gate), explain.thresholds(gate, verdict(card, gate))
    assert [one.item for one in told] == [*(gate.over or ()), "sum", *gate.require]
    met = {one.met for one in told}
    assert explain.assess(gate, verdict(card, gate)) == card.assess(gate)
    if "fails" in met or met == {"does not apply"}:
        assert decided.decision == "dropped"
    elif "not known" in met:
        assert decided.decision == "pending"
    else:
        assert decided.decision == ("review" if "review" in met else "kept")
    for one in told:
        if one.met in ("fails", "review"):
            said = "total" if one.item == "sum" else one.item
            assert any(reason.text.startswith(said) for reason in decided.reasons), (one, decided)
        assert bool(one.why) or one.value is not None or one.met == "does not apply"


@settings(max_examples=60)
@given(gates(), st.lists(cards(), min_size=1, max_size=12))
def test_a_gate_chosen_by_labels_sends_on_what_the_gate_sends_on(gate: Gate, some: list[Scorecard]) -> None:
    rows = [{**verdict(card, gate), "expected": list(card.expected().items())} for card in some]
    found = cheapest_gate.reach(pa.Table.from_pylist(rows, schema=SCHEMA), gate)
    floors = {gate.floor(name) for name in gate.over or ()}
    floor = 0.0 if cheapest_gate.moves_floors(gate) else -math.inf if floors == {None} else floors.pop()
    total = -math.inf if gate.total is None else gate.total
    lost = found.total == -math.inf
    keeps = ~lost & (found.total >= total) & (found.least >= floor)
    sends = ~lost & (found.total >= total - gate.review_total) & (found.least >= floor - gate.review_each)
    for n, card in enumerate(some):
        best = card.assess(gate).at_best
        assert (keeps[n], sends[n]) == (best == "kept", best != "dropped"), (n, card.decide(gate))
        if not lost[n] and cheapest_gate.moves_floors(gate):
            margins = [
                one.best - one.least for one in card.assess(gate).scores if one.least and one.met != "does not apply"
            ]
            assert found.least[n] == pytest.approx(min(margins, default=math.inf), abs=0.01), "floors move together"
        if best != "dropped":
            assert found.known[n] == (card.decide(gate).decision != "pending")


@settings(max_examples=60)
@given(gates(), st.lists(cards(), min_size=1, max_size=12), st.none() | least, st.none() | least)
def test_a_sweep_counts_what_each_gate_decides(
    gate: Gate, some: list[Scorecard], total: float | None, each: float | None
) -> None:
    grid = {name: (value,) for name, value in (("total", total), ("each", each)) if value is not None}
    if each is not None and isinstance(gate.each, dict):
        return  # scores are counted as coarsely as the job's own gate allows
    swept = sweep.with_thresholds(gate, total, each)
    (found,) = sweep.yields(gate, grid, [{sweep.pattern_of(card, gate): 1} for card in some])
    decided = [card.final(swept, complete=True)[0] for card in some]
    hopeful = [card.assess(swept).at_best == "kept" for card in some]
    assert (found.kept, found.review) == (decided.count("kept"), decided.count("review"))
    assert found.possible == sum(one == "pending" and best for one, best in zip(decided, hopeful, strict=True))


@given(gates(), st.dictionaries(st.sampled_from([*DIMENSIONS, "d.x"]), st.none() | number | st.just(math.nan)))
def test_nan_and_none_and_nothing_are_not_known(gate: Gate, scores: dict[str, float | None]) -> None:
    as_none = {name: None if value is None or math.isnan(value) else value for name, value in scores.items()}
    known = {name: value for name, value in as_none.items() if value is not None}
    found: list[Assessment] = [gate.assess(values, {}) for values in (scores, as_none, known)]
    assert found[0] == found[1] == found[2]
    assert {one.item for one in found[0].scores if one.met == "not known"} == set(gate.over or ()) - set(known)


GATES = [
    {"over": None},
    {"over": ["query", "answer.quality"], "total": 20, "review": {"total": 2, "each": 0.5}},
    {"each": {"answer": 6, "answer.quality": 8, "query.creativity": 4}, "require": ["removal.facts"]},
    {"over": ["thought"], "each": 9.5, "total": None, "use": "expected"},
]


@pytest.mark.parametrize("keys", GATES)
def test_a_run_keeps_the_gate_and_an_older_one_is_bound_anew(tmp_path: Path, keys: dict[str, Any]) -> None:
    run = open_run(make_run(tmp_path, triplets(1), [scored(9, decision="dropped")], gate=keys))
    rubrics = [load_rubric(name) for name in run.manifest.configuration["rubrics"]]
    bound = bound_gate(GateConfig.model_validate(run.manifest.gate), rubrics, tmp_path, False)
    assert run.manifest.bound_gate is None
    assert gate_of(run) == bound, "by the columns of the verdicts"
    kept = json.loads(json.dumps(asdict(Gate(total=1, over=("answer.quality",), tops={"answer.quality": 7}))))
    path = Path(run.folder) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | {"bound_gate": json.loads(json.dumps(asdict(bound)))}), encoding="utf-8")
    assert gate_of(open_run(run.folder)) == bound
    path.write_text(json.dumps(manifest | {"bound_gate": kept}), encoding="utf-8")
    assert gate_of(open_run(run.folder)).tops == {"answer.quality": 7}, "what was decided by, not what the job says"
    path.write_text(json.dumps(manifest | {"bound_gate": {"total": "much"}}), encoding="utf-8")
    with pytest.raises(FixStore, match="another version of coigw-judge"):
        gate_of(open_run(run.folder))
