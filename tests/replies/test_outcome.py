"""Outcomes as plain values, and back."""

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from coigw_judge.replies.outcome import MAPPED, Scored, Unscored, from_values, to_values
from coigw_judge.store.fact import SCHEMA

NAMES = st.sampled_from(["quality", "creativity", "fits"])
TEXTS = st.dictionaries(NAMES, st.text(max_size=5), max_size=3)
NUMBERS = st.dictionaries(NAMES, st.integers(0, 100).map(lambda n: n / 10), max_size=3)
MORE = {"raw": st.text(max_size=5), "flags": st.lists(st.text(max_size=5), max_size=2).map(tuple)}
SCORED = st.builds(
    Scored, scores=NUMBERS, reasons=TEXTS, checks=st.dictionaries(NAMES, st.booleans(), max_size=3), choices=TEXTS,
    notes=TEXTS, expected=st.dictionaries(NAMES, st.none() | st.floats(1, 10), max_size=3), **MORE
)  # fmt: skip
UNSCORED = st.builds(Unscored, cause=st.sampled_from(["malformed", "timeout"]), detail=st.text(max_size=5), **MORE)


@given(SCORED | UNSCORED)
def test_an_outcome_comes_back_from_json_and_from_a_facts_columns(outcome):
    values = to_values(outcome)
    assert from_values(values) == outcome
    assert from_values(json.loads(json.dumps(values))) == outcome
    schema = pa.schema([field for field in SCHEMA if field.name in (*MAPPED, "raw", "flags", "cause", "detail")])
    (row,) = pa.Table.from_pylist([values], schema=schema).to_pylist()
    assert set(row) > set(values) and from_values(row) == outcome


@given(SCORED | UNSCORED)
def test_of_some_fields_the_others_are_empty(outcome):
    found = from_values(to_values(outcome, ("scores", "cause")))
    if isinstance(outcome, Unscored):
        assert found == Unscored(cause=outcome.cause)
    else:
        assert found == Scored(scores=outcome.scores)
