"""Counts with named fields: that they add up field by field, cross as JSON, and that a misspelt one is a type error."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from coigw_judge.counts import Counts, Named

NUMBERS = st.integers(-1000, 1000)
COUNTERS = st.dictionaries(st.sampled_from("abcd"), NUMBERS.filter(bool)).map(Counter)


class Inner(Counts):
    n: int = 0


class Outer(Counts):
    rows: int = 0
    share: float = 0.0
    names: Named[str] = Field(default_factory=Counter)
    inner: Inner = Inner()
    by_name: dict[str, Inner] = Field(default_factory=dict)
    nested: dict[str, Named[int]] = Field(default_factory=dict)


OUTERS = st.builds(
    Outer,
    rows=NUMBERS,
    share=NUMBERS.map(float),
    names=COUNTERS,
    inner=st.builds(Inner, n=NUMBERS),
    by_name=st.dictionaries(st.sampled_from("xyz"), st.builds(Inner, n=NUMBERS)),
    nested=st.dictionaries(st.sampled_from("xyz"), st.dictionaries(st.integers(0, 3), NUMBERS).map(Counter)),
)


def in_json(counts: Outer) -> dict[str, object]:
    """What would be written, without the names of which nothing is left."""
    found = counts.model_dump(mode="json")
    found["by_name"] = {name: inner for name, inner in found["by_name"].items() if inner["n"]}
    found["nested"] = {name: inner for name, inner in found["nested"].items() if inner}
    return found


@given(OUTERS, OUTERS, OUTERS)
def test_they_add_up_in_any_order_and_what_was_added_can_be_taken_off(a: Outer, b: Outer, c: Outer) -> None:
    assert in_json((a + b) + c) == in_json(a + (b + c)) == in_json(c + b + a)
    assert in_json(a + b - a) == in_json(b) and a + Outer() == a


def test_what_is_added_up_stays_as_it_was_and_names_of_both_are_there() -> None:
    a = Outer(rows=1, names=Counter(x=1), by_name={"p": Inner(n=1)}, nested={"r": Counter({3: 1})})
    b = Outer(rows=2, names=Counter(x=1, y=5), by_name={"q": Inner(n=2)}, nested={"r": Counter({3: 2, 4: 1})})
    both = a + b
    assert both.rows == 3 and both.names == {"x": 2, "y": 5} and both.nested == {"r": {3: 3, 4: 1}}
    assert both.by_name == {"p": Inner(n=1), "q": Inner(n=2)}
    both.names["x"] += 10
    both.by_name["p"].n += 10
    assert a.names["x"] == b.names["x"] == 1 and a.by_name["p"].n == 1 and Outer() == Outer(rows=0)


@given(OUTERS)
def test_they_come_back_from_json(counts: Outer) -> None:
    there = json.dumps(counts.model_dump(mode="json"))
    assert in_json(Outer.model_validate(json.loads(there))) == in_json(counts)
    assert in_json(Outer.model_validate_json(there)) == in_json(counts)


def test_in_json_names_are_sorted_and_have_no_zeros() -> None:
    dumped = Outer(names=Counter({"b": 1, "a": 2, "c": 0})).model_dump(mode="json")
    assert list(dumped["names"].items()) == [("a", 2), ("b", 1)]


def test_a_default_is_shared_by_none() -> None:
    one = Outer()
    one.names["x"] += 1
    one.inner.n += 1
    assert not Outer().names and not Outer().inner.n


@pytest.mark.slow
def test_a_misspelt_count_is_a_type_error(tmp_path: Path) -> None:
    lines = {
        "manifest.asks.made += 1": "",
        "manifest.asks.maid += 1": '"Asks" has no attribute "maid"',
        "Asks(maid=1)": 'Unexpected keyword argument "maid" for "Asks"',
        'manifest.decisions["kept"]': "",
        'manifest.decisions["cept"]': "Invalid index type",
        'manifest.gate_reasons["total_only"]': "",
        'manifest.gate_reasons["totals_only"]': "Invalid index type",
    }
    code = "from coigw_judge.run_folder.manifest import Asks, Manifest\n\n\ndef count(manifest: Manifest) -> None:\n"
    file = (tmp_path / "spelt").with_suffix(".py")
    file.write_text(code + "".join(f"    {line}\n" for line in lines))
    mypy = [sys.executable, "-m", "mypy", "--config-file", str(Path(__file__).parents[2] / "pyproject.toml")]
    command = [*mypy, "--no-pretty", str(file)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=500)
    said = {int(line.split(":")[1]): line for line in done.stdout.splitlines() if ": error: " in line}
    for number, fault in enumerate(lines.values(), start=5):
        assert (number in said) == bool(fault) and fault in said.get(number, ""), done.stdout + done.stderr
