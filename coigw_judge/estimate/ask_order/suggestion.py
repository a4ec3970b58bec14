"""What is said of the order of asks: a suggestion where the store knows enough, else what can be known without rates.

Not known here: how the cheapest order is found (order.py), how lengths are measured (lengths.py).
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

Measured = Callable[[], Lengths | None]


def ordering(plan: Plan, found: AskedInFull, measured: Measured) -> Suggestion | None:
    """What is known of the order; None where it makes no difference: nothing is spared, or one rubric alone can end.

    `measured` gives lengths; None where there is nothing to measure.
    """
    _, free, _ = tied(plan.rubrics, plan.gate, plan.floor)
    if not plan.early_exit or len(free) < 2:
        return None
    lengths = measured()
    if asked_in_full.enough(found, LEAST):
        return None if lengths is None else _with_fewest(plan, suggest(plan, found, lengths), lengths)
    why = "few" if asked_in_full.whole(found) else "lacking"
    listed = tuple(rubric.name for rubric in plan.rubrics)
    made = Suggestion(listed=listed, why=why, records=found.records, lacking=found.lacking)
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
    found = asdict(made)
    for name in ("tokens_listed", "tokens_suggested", "first_listed", "first_fewest"):
        found[name] = None if found[name] is None else round(found[name], 1)
    for name in ("saving", "low", "high"):
        found[name] = None if found[name] is None else round(found[name], 4)
    for rate in found["rates"]:
        rate |= {"ends": round(rate["ends"], 4), "tokens": round(rate["tokens"], 1)}
    return found


_UNITS = {
    "tokens": "tokens of sampled records",
    "scaled": "characters of sampled records, scaled to the prompts of facts",
    "characters": "characters of sampled records, for want of a tokenizer",
}


def lines(found: Mapping[str, Any] | None) -> Iterator[str]:
    """What `as_json` holds, for people; nothing where the order makes no difference."""
    if found is None:
        return
    unit = "characters" if found["unit"] == "characters" else "tokens"
    count = f"{found['records']:,} records that were asked in full"
    if found["why"] == "few":
        yield (
            f"order of asks: no rates yet: {count} (samples.exhaustive), and {LEAST} are needed to say how often each "
            "rubric ends a record"
        )
        yield from _fewest(found, unit)
        return
    if found["why"] == "lacking":
        yield (
            f"order of asks: no rates: {count}, but of {found['lacking']:,} others of that share only a part is known; "
            "run the job, and they are asked too"
        )
        yield from _fewest(found, unit)
        return
    yield from _rated(found, unit, count)


def _rated(found: Mapping[str, Any], unit: str, count: str) -> Iterator[str]:
    before, after = f"{found['tokens_listed']:,.0f}", f"{found['tokens_suggested']:,.0f}"
    between = f"{found['low']:.0%} to {found['high']:.0%} with 99 % confidence"
    if found["why"] == "listed":
        yield f"order of asks: the listed one is the cheapest known, {before} {unit} per record, by {count}"
    elif found["why"] == "unsure":
        yield (
            f"order of asks: none is surely cheaper than the listed one ({before} {unit} per record) by {count}: what "
            f"looks best on some of them ({after} on all) saves {found['saving']:.0%} on the others ({between})"
        )
    else:
        yield (
            f"order of asks: another one takes {after} {unit} per record and the listed one {before}, by {count}; on "
            f"records that it was not chosen by it saves {found['saving']:.0%} ({between})"
        )
        yield f"  rubrics: {names(found['suggested'])}"
    ends = ", ".join(f"{rate['rubric']} {rate['ends']:.0%} for {rate['tokens']:,.0f}" for rate in found["rates"])
    yield f"  asked first each ends: {ends} {unit}"
    replies = "and replies as facts have them" if found["replies_from"] else "and no replies, of which no facts tell"
    how = "as rates were given" if found["weight_from"] == "given" else "taken as dear as a prefilled one"
    yield f"  ({_UNITS[found['unit']]}, {replies}; a generated token counts {found['weight']:.3g}, {how})"


def _fewest(found: Mapping[str, Any], unit: str) -> Iterator[str]:
    """The listed order beside the one with the fewest fields first."""
    if found["first_listed"] is None:
        return
    first = f"a record that ends at the first ask prefills {found['first_listed']:,.0f} {unit} as listed"
    if found["fewest"] == found["listed"] or found["first_fewest"] >= found["first_listed"]:
        yield f"  {first}; no first ask with fewer fields takes less"
        return
    yield f"  {first}, and {found['first_fewest']:,.0f} with the fewest fields first (order: fewest_fields):"
    yield f"  rubrics: {names(found['fewest'])}"
