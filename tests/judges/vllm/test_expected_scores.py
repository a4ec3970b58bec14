"""Expected scores from hand-made probabilities: where a number stands, what it could have been, when nobody can say."""

import asyncio
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import rubric

from coigw_judge.judges.vllm.expected_scores import MOST_PROBES, Drawn, ExpectedScores, Probe, expected_scores
from coigw_judge.judges.vllm.token_text import Spelling, number_places

TWO = rubric("r", dimensions=("quality", "novelty"))
BARE, TOLD = TWO.reply_schema("none"), TWO.reply_schema("short")


class Toy:
    """A tokenizer whose tokens are whatever texts it is shown; probes are answered from `after`, by what is behind."""

    def __init__(self, after: Mapping[str, Mapping[str, float] | None] | None = None) -> None:
        self._texts = [":"]
        self._after = after or {}
        self.probes: list[tuple[str, str]] = []
        self.spelling = Spelling(lambda ids: "".join(self._texts[i] for i in ids), 0)

    def id(self, text: str) -> int:
        if text not in self._texts:
            self._texts.append(text)
        return self._texts.index(text)

    def chances(self, told: Mapping[str, float]) -> dict[int, float]:
        return {self.id(text): p for text, p in told.items()}

    async def ask(self, probe: Probe) -> dict[int, float] | None:
        text = "".join(self._texts[i] for i in probe.ids)
        self.probes.append((text, probe.pattern))
        told = next(told for end, told in self._after.items() if text.endswith(end))
        return None if told is None else self.chances(told)

    def expected(
        self, pieces: Sequence[str | tuple[str, Mapping[str, float]]], schema: Mapping[str, Any]
    ) -> ExpectedScores:
        """Of a reply in tokens; a token with probabilities is one that was drawn from these, others were certain."""
        drawn = [(piece, {piece: 1.0}) if isinstance(piece, str) else piece for piece in pieces]
        ids = [self.id(text) for text, _ in drawn]
        return asyncio.run(
            expected_scores(Drawn(ids, lambda at: self.chances(drawn[at][1])), schema, self.spelling, self.ask)
        )


def quality(
    *pieces: Any, before: str = '{"quality":', after: Sequence[str] = (',"novelty":', "5", "}"), toy: Toy | None = None
) -> Any:
    """The expected score, or the cause, of the first of two dimensions; the second is 5 for certain."""
    toy = toy or Toy()
    found = toy.expected([before, *pieces, *after], BARE)
    assert set(found.values) == {"quality", "novelty"} and set(found.missing) == {
        k for k, v in found.values.items() if v is None
    }
    assert found.values["novelty"] == 5
    return found.missing.get("quality", found.values["quality"])


def test_a_sure_score_is_itself():
    assert quality("8") == 8
    assert quality(("8", {"8": 0.9999999, "7": 0.0000001})) == 8, "no 7.9999999: a gate at 8 keeps it"


def test_the_mean_over_what_could_have_been_said():
    assert quality(("8", {"8": 0.5, "7": 0.3, "9": 0.2})) == pytest.approx(7.9)


def test_probabilities_before_the_mask_are_taken_anew_over_what_the_grammar_admits():
    told = {"8": 0.25, "7": 0.15, '"': 0.4, "很": 0.1, " 8": 0.05, "8]": 0.03, "11": 0.02}
    assert quality(("8", told)) == pytest.approx((8 * 0.25 + 7 * 0.15) / 0.4)


def test_ten_as_one_token():
    assert quality(("10", {"10": 0.6, "9": 0.4})) == pytest.approx(9.6)
    assert quality(("9", {"10": 0.6, "9": 0.4})) == pytest.approx(9.6), "nothing open: no probe"


def test_ten_as_two_tokens_that_were_sampled():
    toy = Toy()
    found = quality(("1", {"1": 0.5, "8": 0.5}), ("0", {"0": 0.8, ",": 0.1, ',"': 0.1}), toy=toy)
    assert found == pytest.approx(0.5 * 8 + 0.5 * (0.8 * 10 + 0.2 * 1)) and not toy.probes


def test_one_as_one_token_that_was_sampled_and_could_have_gone_on():
    assert quality(
        ("1", {"1": 1.0}), (',"novelty":', {',"novelty":': 0.75, "0": 0.25}), after=("5", "}")
    ) == pytest.approx(3.25)


def test_one_that_was_not_sampled_is_asked_for_once():
    toy = Toy({'{"quality":1': {"0": 0.9, ",": 0.06, ',"': 0.04}})
    found = quality(("8", {"8": 0.7, "1": 0.3}), toy=toy)
    assert found == pytest.approx(0.7 * 8 + 0.3 * (9 + 0.1))
    ((asked, pattern),) = toy.probes
    assert asked == '{"quality":1', "the reply up to the number, and the digit"
    for ends in ("0", ""):
        assert re.fullmatch(pattern, ends + ',"novelty":')
    assert not re.fullmatch(pattern, '1,"novelty":') and not re.fullmatch(pattern, "0}")


def test_one_is_not_asked_for_where_it_hardly_matters_and_is_left_out():
    toy = Toy()
    assert quality(("8", {"8": 0.6, "9": 0.391, "1": 0.009}), toy=toy) == pytest.approx((0.6 * 8 + 0.391 * 9) / 0.991)
    assert not toy.probes


def test_ten_as_one_token_and_as_two():
    toy = Toy({"1": {"0": 0.5, ",": 0.5}})
    assert quality(("8", {"8": 0.5, "10": 0.3, "1": 0.2}), toy=toy) == pytest.approx(4 + 3 + 0.2 * 5.5)


def test_tokens_that_hold_a_value_and_what_follows_it():
    told = {"8": 0.1, "8}": 0.5, "10}}": 0.2, "9},": 0.2, "1}": 0.0}
    toy = Toy()
    found = toy.expected(
        ['{"quality":{"reason":"好","score":', "8", '},"novelty":{"reason":"新","score":', ("8}", told), "}"], TOLD
    )
    assert found.values == {"quality": 8, "novelty": pytest.approx(0.6 * 8 + 0.2 * 10 + 0.2 * 9)}
    assert not toy.probes, "`1}` is a whole value"


def test_a_second_digit_with_what_follows_it():
    toy = Toy({'"score":1': {"0}": 0.5, "0": 0.25, "}": 0.125, "}}": 0.125}})
    pieces = [
        '{"quality":{"reason":"好","score":',
        ("8", {"8": 0.5, "1": 0.5}),
        '},"novelty":{"reason":"新","score":',
        "5",
        "}}",
    ]
    assert toy.expected(pieces, TOLD).values["quality"] == pytest.approx(4 + 0.5 * (0.75 * 10 + 0.25))
    ((_, pattern),) = toy.probes
    assert re.fullmatch(pattern, '0},"novelty":{"reason":"') and re.fullmatch(pattern, '},"novelty":{"reason":"')


def test_a_probe_that_fails_leaves_no_value():
    assert quality(("8", {"8": 0.7, "1": 0.3}), toy=Toy({"1": None})) == "probe_failed"


def test_tokens_beyond_those_listed_leave_no_value():
    assert quality(("8", {"8": 0.6, "7": 0.39})) == "cut_off"
    assert quality(("8", {"8": 0.6, "7": 0.3998})) == pytest.approx(7.6, abs=0.01)
    assert quality(("8", {"好": 0.9999, "8": 0.00001})) == "cut_off", "next to nothing is left of what is admitted"
    assert quality(("8", {"8": 0.7, "1": 0.3}), toy=Toy({"1": {"0": 0.5}})) == "cut_off"


def test_a_token_over_the_first_byte_leaves_no_value():
    assert quality(":8", before='{"quality"') == "crosses"
    assert quality('":8', before='{"quality') == "crosses"


def test_a_token_that_might_have_reached_over_the_first_byte_leaves_no_value():
    """`:` and then 8 was drawn where `:9` was as likely: what follows `:` knows nothing of that."""
    assert quality((":", {":": 0.5, ":9": 0.5}), "8", before='{"quality"') == "crosses"
    assert quality((":", {":": 0.995, ":9": 0.005}), "8", before='{"quality"') == 8
    assert quality(('"', {'"': 0.5, '":9': 0.5}), ":", "8", before='{"quality') == "crosses"
    assert quality((":", {":": 0.5, ":好": 0.5}), "8", before='{"quality"') == 8, "not into a number"


def test_the_number_is_found_behind_the_thinking_and_among_reasons_that_hold_anything():
    told = {"8": 0.5, "7": 0.5}
    reason = '他写道 \\"score\\":3, {\\"quality\\":{\\"score\\":4}} </think> 2/10'
    pieces = [
        "<think>", '先想 {"quality":{"reason":"","score":', "1", "}}，再想", "</think>", "\n\n",
        '{"quality":{"reason":"', *reason, '","score":', ("8", told), '},"novelty":{"reason":"', "3", '","score":', "6", "}}",
    ]  # fmt: skip
    reason_with_thinking = Toy().expected(pieces, TOLD)
    assert reason_with_thinking.missing == {"quality": "not_found", "novelty": "not_found"}, (
        "where thinking ends is not sure"
    )
    pieces[6:-6] = ['{"quality":{"reason":"', *reason.replace("</think>", ""), '","score":']
    assert Toy().expected(pieces, TOLD).values == {"quality": 7.5, "novelty": 6}
    assert Toy().expected(pieces[6:], TOLD).values == {"quality": 7.5, "novelty": 6}


@pytest.mark.parametrize(
    "text",
    [
        "", "8", "[8]", '"quality"', '{"quality":8', '{"quality":8,}', '{"quality":8} {"quality":9}', "{'quality':8}", '{"quality" 8}',
        '{8:8}', '{"quality":8}\n好', "{" * 3000, '{"a":' + "[" * 100_000, '{"quality":8}</think>',
    ],
)  # fmt: skip
def test_what_is_no_single_object_has_no_places(text):
    assert number_places(text) == {}


def test_places_of_members():
    text = ' {"a" : 8 ,"b":{"reason":"\\"score\\":1","score":10},"c":{"value":true},"a":-2}\n'
    found = number_places(text)
    assert {key: text[slice(*place)] for key, place in found.items()} == {"a": "-2", "b": "10", "c": '{"value":true}'}
    assert number_places("{}") == {}


def test_a_reply_that_its_tokens_do_not_spell_has_no_value():
    def garbled(ids: list[int]) -> str:
        return "".join('\u2581{"q}'[i] for i in ids).replace("\u2581\u2581", "\u2581")

    spelling = Spelling(garbled, 0)
    found = asyncio.run(expected_scores(Drawn([0, 0, 1], lambda _: {}), BARE, spelling, Toy().ask))
    assert found.missing == {"quality": "not_found", "novelty": "not_found"}


def test_a_character_of_several_tokens_shifts_nothing():
    raw = '{"quality":{"reason":"龘😀好\ufffd","score":8},"novelty":{"reason":"","score":6}}'.encode()
    spelling = Spelling(lambda ids: bytes(ids).decode("utf-8", "replace"), ord(":"))
    text, starts = spelling.laid_out(list(raw))
    assert text == raw.decode() and text[starts[raw.index(b"8}")]] == "8"
    assert starts == sorted(starts) and len(starts) == len(raw)
    found = asyncio.run(expected_scores(Drawn(list(raw), lambda at: {raw[at]: 1.0}), TOLD, spelling, Toy().ask))
    assert found.values == {"quality": 8, "novelty": 6}


def on_scale(scale: dict[str, float], *pieces: Any, toy: Toy | None = None) -> Any:
    one = rubric("r", dimensions=("quality",), anchors={4: "好", 2: "平"}, scale=scale)
    found = (toy or Toy()).expected(['{"quality":', *pieces, "}"], one.reply_schema("none"))
    return found.missing.get("quality", found.values["quality"])


def test_scales_of_other_numbers():
    assert on_scale({"min": 1, "max": 5}, ("4", {"4": 0.5, "5": 0.5})) == 4.5
    assert on_scale({"min": 0, "max": 10, "step": 2}, ("4", {"4": 0.5, "1": 0.5})) == 7, "1 can only become 10"
    assert on_scale({"min": 0, "max": 4, "step": 0.5}, "4") == "not_whole"
    toy = Toy({":-": {"1": 0.5, "2": 0.5}})
    assert on_scale({"min": -4, "max": 4}, ("4", {"4": 0.5, "-": 0.5}), toy=toy) == pytest.approx(2 - 0.75)


def test_wide_scales_ask_on_as_long_as_it_matters():
    second = {str(n): 0.08 for n in range(10)} | {"}": 0.2}
    toy = Toy({":10": {"0": 0.5, "}": 0.5}, ":1": second, ":2": second})
    found = on_scale({"min": 0, "max": 100}, ("7", {"7": 0.6, "1": 0.2, "2": 0.2}), ("5", {"5": 1.0}), toy=toy)
    teens = sum(0.08 * n for n in range(11, 20)) + 0.08 * (10 + 100) / 2 + 0.2
    assert found == pytest.approx(0.6 * 75 + 0.2 * teens + 0.2 * (sum(0.08 * n for n in range(20, 30)) + 0.2 * 2))
    assert len(toy.probes) == 3
    spread = {str(n): 0.1 for n in range(10)}
    everywhere = Toy({"": {"}": 1.0}})
    assert on_scale({"min": 0, "max": 1000}, ("5", spread), ("0", spread), "0", toy=everywhere) == "too_many_probes"
    assert len(everywhere.probes) == MOST_PROBES


def draws(tokens: Sequence[str], values: Sequence[str], begun: str, choose: Any) -> dict[str, float]:
    """Probabilities of the tokens that may come next, from one that draws weights."""
    rest = [value[len(begun) :] + "}" for value in values if value.startswith(begun)]
    legal = [token for token in tokens if any(each.startswith(token) for each in rest)]
    weights = [choose() for _ in legal]
    return {token: weight / sum(weights) for token, weight in zip(legal, weights, strict=True)}


@given(st.sets(st.sampled_from(["10", "10}", "8}", "1}", "0}"])), st.data())
def test_the_same_as_going_through_all_that_could_be_said(extra: set[str], data: st.DataObject):
    """Any vocabulary, any probabilities: the sum over all token sequences, written down in the plainest way."""
    values = [str(n) for n in range(11)]
    tokens = [*"0123456789}", *sorted(extra)]
    weight = st.floats(0.02, 1)
    tables = {begun: draws(tokens, values, begun, lambda: data.draw(weight)) for begun in ("", "1")}

    def sequences(begun: str, p: float) -> Any:
        for token, share in tables[begun].items():
            text = begun + token
            if text == "1":
                yield from sequences("1", p * share)
            else:
                yield text.rstrip("}"), p * share

    outcomes = list(sequences("", 1.0))
    truth = sum(int(value) * p for value, p in outcomes)
    assert sum(p for _, p in outcomes) == pytest.approx(1)
    first = data.draw(st.sampled_from(sorted(tables[""])))
    toy = Toy({":1": tables["1"]})
    pieces: list[Any] = ['{"quality":', (first, tables[""])]
    if first == "1":
        pieces.append((data.draw(st.sampled_from(sorted(tables["1"]))), tables["1"]))
    said = "".join(piece if isinstance(piece, str) else piece[0] for piece in pieces)
    pieces += [] if said.endswith("}") else ["}"]
    one = rubric("r", dimensions=("quality",)).reply_schema("none")
    found = toy.expected(pieces, one).values["quality"]
    open_mass = tables[""]["1"] if first != "1" else 0.0
    assert len(toy.probes) == (open_mass > 0.01)
    if open_mass == 0.0 or open_mass > 0.01:
        assert found == pytest.approx(truth, abs=1e-5)


def test_the_forms_of_replies_are_those_of_the_shipped_rubrics():
    """What is forced behind a number really stands there, whatever item follows: a check, a choice, a note, nothing."""
    item = {"key": "c", "title": "c", "question": "？"}
    for rest, reasons in itertools.product(
        ({"checks": ["c"]}, {"notes": ["n"]}, {"choices": [{**item, "options": ["甲", "乙"]}]}, {}), ("none", "short")
    ):
        made = rubric("r", dimensions=("quality",), **rest)
        schema = made.reply_schema(reasons)
        reply: dict[str, Any] = {"quality": {"reason": "好", "score": 8} if reasons == "short" else 8}
        told: Any = {"checks": True, "notes": "概", "choices": "甲"}.get(next(iter(rest), ""))
        name = {"checks": "value", "choices": "choice"}.get(next(iter(rest), ""))
        for key in list(schema["properties"])[1:]:
            reply[key] = {"reason": "因", name: told} if name and reasons == "short" else told
        text = json.dumps(reply, ensure_ascii=False, separators=(",", ":"))
        at = number_places(text)["quality"]
        toy = Toy({"1": {"0": 0.5, ",": 0.25, "}": 0.25}})
        assert (
            toy.expected([text[: at[0]], ("8", {"8": 0.5, "1": 0.5}), text[at[1] :]], schema).values["quality"]
            is not None
        )
        ((_, pattern),) = toy.probes
        for second in ("0", ""):
            assert re.match(pattern, second + text[at[1] :]), (pattern, text)
