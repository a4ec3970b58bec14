"""The order of asks for manifest and plan: a suggestion, or why there is none.

cheapest.py searches for the order, lengths.py measures.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from coigw_judge.decide.ask_order import fewest_fields, tied
from coigw_judge.decide.plan import Plan
from coigw_judge.estimate.ask_order.cheapest import Suggestion, suggest
from coigw_judge.estimate.ask_order.lengths import Lengths
from coigw_judge.estimate.history import LEAST
from coigw_judge.standing import asked_in_full
from coigw_judge.standing.asked_in_full import AskedInFull, names

MeasureLengths = Callable[[], Lengths | None]


def ordering(plan: Plan, share: AskedInFull, measured: MeasureLengths) -> Suggestion | None:
    """The suggestion; None where the order makes no difference: no early exit, or only one rubric can end records.

    `share`: the records that were asked in full. `measured` gives lengths; None where there is nothing to measure.
    """
    _, free, _ = tied(plan.rubrics, plan.gate, plan.floor)
    if not plan.early_exit or len(free) < 2:
        return None
    lengths = measured()
    if asked_in_full.enough(share, LEAST):
        return None if lengths is None else _with_fewest(plan, suggest(plan, share, lengths), lengths)
    why = "few" if asked_in_full.whole(share) else "lacking"
    listed = tuple(rubric.name for rubric in plan.rubrics)
    made = Suggestion(listed=listed, why=why, records=share.records, lacking=share.lacking)
    return _with_fewest(plan, made, lengths)


def _with_fewest(plan: Plan, made: Suggestion, lengths: Lengths | None) -> Suggestion:
    """The order with the fewest fields first beside the listed one, by what ending at the first ask takes."""
    fewest = tuple(rubric.name for rubric in fewest_fields(plan.rubrics, plan.gate, plan.floor))
    if lengths is None:
        return replace(made, fewest=fewest)
    first = [_first(plan, order, lengths) for order in (made.listed, fewest)]
    return replace(made, fewest=fewest, first_listed=first[0], first_fewest=first[1], unit=lengths.unit)


def _first(plan: Plan, order: tuple[str, ...], lengths: Lengths) -> float:
    """Prefilled tokens up to the first ask that can end a record."""
    before, _, _ = tied(plan.rubrics, plan.gate, plan.floor)
    asked = order[: len(before) + 1]
    return sum(lengths.prefill(name, asked[:n]) for n, name in enumerate(asked))


def as_json(made: Suggestion | None) -> dict[str, Any] | None:
    """As plain values, for a manifest and for `plan --json`; tokens to a tenth, shares to a ten-thousandth."""
    if made is None:
        return None
    values = asdict(made)
    for name in ("tokens_listed", "tokens_suggested", "first_listed", "first_fewest"):
        values[name] = None if values[name] is None else round(values[name], 1)
    for name in ("saving", "low", "high"):
        values[name] = None if values[name] is None else round(values[name], 4)
    for rate in values["rates"]:
        rate |= {"ends": round(rate["ends"], 4), "tokens": round(rate["tokens"], 1)}
    return values


_UNITS = {
    "tokens": "tokens of sampled records",
    "scaled": "characters of sampled records, scaled to the prompts of facts",
    "characters": "characters of sampled records, for want of a tokenizer",
}


def lines(order: Mapping[str, Any] | None) -> Iterator[str]:
    """What `as_json` gives, as lines for people; none where the order makes no difference."""
    if order is None:
        return
    unit = "characters" if order["unit"] == "characters" else "tokens"
    count = f"{order['records']:,} records that were asked in full"
    if order["why"] == "few":
        yield (
            f"order of asks: no rates yet: {count} (samples.exhaustive), and {LEAST} are needed to say how often each "
            "rubric ends a record"
        )
        yield from _fewest(order, unit)
        return
    if order["why"] == "lacking":
        yield (
            f"order of asks: no rates: {count}, but of {order['lacking']:,} others of that share only a part is known; "
            "run the job, and they are asked too"
        )
        yield from _fewest(order, unit)
        return
    yield from _rated(order, unit, count)


def _rated(order: Mapping[str, Any], unit: str, count: str) -> Iterator[str]:
    before, after = f"{order['tokens_listed']:,.0f}", f"{order['tokens_suggested']:,.0f}"
    between = f"{order['low']:.0%} to {order['high']:.0%} with 99 % confidence"
    if order["why"] == "listed":
        yield f"order of asks: the listed one is the cheapest known, {before} {unit} per record, by {count}"
    elif order["why"] == "unsure":
        yield (
            f"order of asks: none is surely cheaper than the listed one ({before} {unit} per record) by {count}: what "
            f"looks best on some of them ({after} on all) saves {order['saving']:.0%} on the others ({between})"
        )
    else:
        yield (
            f"order of asks: another one takes {after} {unit} per record and the listed one {before}, by {count}; on "
            f"records that it was not chosen by it saves {order['saving']:.0%} ({between})"
        )
        yield f"  rubrics: {names(order['suggested'])}"
    ends = ", ".join(f"{rate['rubric']} {rate['ends']:.0%} for {rate['tokens']:,.0f}" for rate in order["rates"])
    yield f"  asked first each ends: {ends} {unit}"
    replies = "and replies as facts have them" if order["replies_from"] else "and no replies, of which no facts tell"
    how = "as rates were given" if order["weight_from"] == "given" else "taken as dear as a prefilled one"
    yield f"  ({_UNITS[order['unit']]}, {replies}; a generated token counts {order['weight']:.3g}, {how})"


def _fewest(order: Mapping[str, Any], unit: str) -> Iterator[str]:
    """The listed order beside the one with the fewest fields first."""
    if order["first_listed"] is None:
        return
    first = f"a record that ends at the first ask prefills {order['first_listed']:,.0f} {unit} as listed"
    if order["fewest"] == order["listed"] or order["first_fewest"] >= order["first_listed"]:
        yield f"  {first}; no first ask with fewer fields takes less"
        return
    yield f"  {first}, and {order['first_fewest']:,.0f} with the fewest fields first (order: fewest_fields):"
    yield f"  rubrics: {names(order['fewest'])}"
