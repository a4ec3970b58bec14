"""Gates and scorecards drawn at random."""

from typing import Any

from hypothesis import strategies as st

from coigw_judge.decide.gate import Gate

SIX = [f"{rubric}.{key}" for rubric in ("answer", "query", "thought") for key in ("quality", "creativity")]


score = st.one_of(st.integers(0, 10), st.integers(0, 20).map(lambda n: n / 2), st.floats(0, 10))


maybe_score = st.none() | score


threshold = st.none() | st.integers(0, 10) | st.floats(0, 10)


@st.composite
def gates(draw: st.DrawFn, names: list[str] = SIX[:4]) -> Gate:
    some = st.dictionaries(st.sampled_from(names), st.integers(0, 10))
    return Gate(
        total=draw(st.none() | st.floats(0, 10 * len(names))),
        each=draw(threshold | some),
        over=tuple(names),
        require=tuple(draw(st.sets(st.sampled_from(["c.one", "c.two"])))),
        review_total=draw(st.sampled_from([0, 1, 2.5])),
        review_each=draw(st.sampled_from([0, 1, 2.5])),
        tops=dict.fromkeys(names, 10),
    )


def cards(values: st.SearchStrategy[Any] = maybe_score) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(dict.fromkeys(SIX[:4], values))


def check_values(values: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    values = st.none() | st.booleans() if values is None else values
    return st.fixed_dictionaries({"c.one": values, "c.two": values})
