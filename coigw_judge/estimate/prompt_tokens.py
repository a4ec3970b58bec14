"""How many tokens a record's requests take, and how many of them an engine has to prefill.

An ideal prefix cache (judges/vllm/prefix_cache.py) says what is cached. An engine reaches that where its KV cache holds
the records at work, and a record's requests are adjacent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coigw_judge.errors import FixJudge
from coigw_judge.estimate.estimate import Asked
from coigw_judge.estimate.sampled_standing import Inquiry, State
from coigw_judge.job.fingerprints import head_tail, reserve
from coigw_judge.job.job import LoadedJob
from coigw_judge.job.recipe import Recipe
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.protocol import Yardstick
from coigw_judge.judges.vllm.prefix_cache import PrefixCache
from coigw_judge.prompting.long_text import fit, too_long
from coigw_judge.prompting.tokens import Encoder
from coigw_judge.records.record import Record

_DRAWS = 400
_LEAST_PLACES = 8

# What to measure with


def instruments(job: LoadedJob) -> tuple[Yardstick | None, Encoder | None, str]:
    """The judge's context and its tokenizer, as far as they can be loaded without an engine; and why not."""
    try:
        measure = engine_of(job.config.judge).yardstick()
    except FixJudge as error:
        return None, None, str(error)
    encoder = engine_of(job.config.judge).encoder()
    return measure, encoder, "only the judge itself has the tokenizer" if encoder is None else ""


def as_shown(job: LoadedJob, records: list[Record], measure: Yardstick | None) -> tuple[list[Record], int | None]:
    """The records as the judge would see them, and how many of them are too long for it (None: not known)."""
    if measure is None:
        return records, None
    if job.config.long_text == "head_tail":
        policy = head_tail(job, measure)
        shown = [fit(record.texts, policy, measure.tokens) for record in records]
        cut = [replace(record, texts=text.texts) for record, text in zip(records, shown, strict=True)]
        return cut, sum(bool(text.left_out) for text in shown)
    rooms = [(rubric, measure.context - reserve(job, rubric, measure)) for rubric in job.all_rubrics]
    texts = [record.texts for record in records]
    return records, sum(
        any(too_long(text, r.fields, room, measure.tokens) for r, room in rooms if text.keys() >= set(r.reads))
        for text in texts
    )


@dataclass(slots=True)
class Sums:
    """Weighted sums per place and rubric."""

    values: np.ndarray[Any, np.dtype[np.float64]]
    """By place, rubric and quantity: requests, prompt tokens, cached ones, those cached when the request is asked once
    more, and requests too long to be sent."""
    names: tuple[str, ...]
    """Of the rubrics."""

    def means(self, drawn: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Per rubric the means of the other quantities per request; `drawn`: how often a place counts (None: once)."""
        sums = self.values.sum(axis=0) if drawn is None else np.tensordot(drawn, self.values, axes=1)
        counts = sums[:, :1]
        return np.asarray(np.divide(sums[:, 1:], counts, out=np.zeros_like(sums[:, 1:]), where=counts > 0))


def mean_lengths(
    inquiry: Inquiry, states: Sequence[State], recipe: Recipe, encoder: Encoder, context: int, asks: Counter[str]
) -> tuple[Sums, np.ndarray[Any, np.dtype[np.float64]]]:
    """Tokens of the sampled records' requests, and each rubric's means (Sums.means).

    `asks`: how many requests of each rubric are expected. Where no sampled record waits for a rubric, it is measured on
    all sampled records to which it applies.
    """
    sums = weigh(inquiry, states, recipe, encoder, context, every_applicable=False)
    means = sums.means()
    names = [rubric.name for rubric in inquiry.job.all_rubrics]
    unseen = [n for n, name in enumerate(names) if asks[name] and not sums.values[:, n, 0].sum()]
    if unseen:
        means[unseen] = weigh(inquiry, states, recipe, encoder, context, every_applicable=True).means()[unseen]
    return sums, means


def weigh(
    inquiry: Inquiry,
    states: Sequence[State],
    recipe: Recipe,
    encoder: Encoder,
    context: int,
    *,
    every_applicable: bool,
) -> Sums:
    """Encode the requests of sampled records, in the order of asking, into an ideal prefix cache.

    `every_applicable`: all rubrics that apply to a record, not only those that it waits for.
    """
    job, plan = inquiry.job, inquiry.planned.plan
    rubrics = {rubric.name: (n, rubric) for n, rubric in enumerate(job.all_rubrics)}
    places = sorted({state.place for state in states})
    sums = np.zeros((max(1, len(places)), len(rubrics), 5))
    block = engine_of(job.config.judge).cache_block()
    cache = PrefixCache(block) if block else None
    thinking = job.config.judge.thinking_tokens if job.config.judge.thinking else 0
    for state in states:
        names = state.applicable if every_applicable else state.waits.rubrics
        chances = inquiry.history.chances(plan, names, state.waits.kind)
        for name, chance in zip(names, chances, strict=True):
            n, rubric = rubrics[name]
            prompt = recipe.templates[name].render(state.shown.texts, plan.guidance(rubric, state.genre))
            ids = [] if encoder.at_least(prompt) > context else encoder.encode(prompt)
            long = not ids or len(ids) + recipe.reply_tokens[name] + thinking > context
            size = 0 if long else len(ids)
            cached = cache.ask(ids) if cache and not long else 0
            full = max(0, size - 1) // block * block if block else 0
            amounts = np.array([1.0, size, cached, full, long])
            sums[places.index(state.place), n] += state.weight * chance * amounts
    return Sums(sums, tuple(rubrics))


def interval(
    inquiry: Inquiry, sums: Sums | None, expected: Mapping[str, float], rubrics: Sequence[Asked]
) -> tuple[float | None, float | None]:
    """The 95 % interval of all prompt tokens, by bootstrap over places: rows of one place are alike."""
    if sums is None or inquiry.sample.whole or len(sums.values) < _LEAST_PLACES:
        return None, None
    draws = np.random.default_rng(0).multinomial(
        len(sums.values), [1 / len(sums.values)] * len(sums.values), size=_DRAWS
    )
    tries = np.array([spent.tries if (spent := inquiry.history.spent.get(name)) else 1.0 for name in sums.names])
    if inquiry.counts is None:
        totals = np.tensordot(draws, sums.values[:, :, 1], axes=1) @ tries
    else:
        wanted = np.array([rubric.requests for rubric in rubrics]) * tries
        totals = np.array([sums.means(drawn)[:, 0] @ wanted for drawn in draws])
    low, high = np.percentile(totals, [2.5, 97.5])
    return float(low), float(high)
