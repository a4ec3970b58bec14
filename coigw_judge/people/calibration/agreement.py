"""How well two numbers on the same records agree: pure statistics, each with a bootstrap interval.

Point estimates come from scipy and scikit-learn. scipy has no weighted Spearman or Kendall, and neither is fast enough
to be called a thousand times per interval, so every statistic also has a form here that works on a table of weights
(how much weight each pair of values carries). Without weights the two are equal, and a test holds them to 1e-9.
Intervals are percentiles over resampled records (never labels: two labels of one record are not two observations),
with a fixed seed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.int64]]
RESAMPLES = 1000
_CELLS_AT_ONCE = 4_000_000
_MOST_VALUES = 100
"""For intervals alone, values that are more than this are merged into so many groups of like size."""
_LEAST_DEFINED = 0.5
"""Of the resamples a statistic must be defined on (not all values alike), else it has no interval."""

LEAST_RECORDS = 8
"""Fewer records have no interval: resamples of three records say nothing about a fourth."""


@dataclass(frozen=True, slots=True)
class IntervalEstimate:
    """A statistic over `n` records and its 95 % interval.

    None where it is not defined (all values alike, no pair); no interval for fewer than LEAST_RECORDS.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are made: how many resamples, and the seed from which they are drawn."""

    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Tables:
    """Weight by pair of values, one table per resample: `weights` has the shape (resamples, len(x), len(y))."""

    x: Floats
    y: Floats
    weights: Floats


Statistic = Callable[[Tables], Floats]


def correlations(x: Floats, y: Floats, weights: Floats | None, how: Bootstrap) -> dict[str, IntervalEstimate]:
    """Pearson, Spearman and Kendall (tau-b) of x and y."""
    found = {}
    for name, by_table in (("pearson", pearson), ("spearman", spearman), ("kendall", kendall)):
        point = by_scipy(name, x, y) if weights is None else None
        found[name] = estimate(x, y, weights, by_table, how, point)
    return found


def by_scipy(name: str, x: Floats, y: Floats) -> float:
    """An unweighted correlation as scipy has it; NaN where it is not defined."""
    from scipy import stats

    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    functions = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}
    return float(functions[name](x, y).statistic)


def kappa(x: Floats, y: Floats, grid: Floats, weights: Floats | None, how: Bootstrap) -> IntervalEstimate:
    """Cohen's kappa with quadratic weights over the values of `grid`, on which x and y lie."""
    from sklearn.metrics import cohen_kappa_score

    def on_grid(values: Floats) -> Floats:
        return np.asarray(np.abs(values[:, None] - grid[None, :]).argmin(axis=1), np.float64)

    places_x, places_y = on_grid(x), on_grid(y)
    point = math.nan
    if len(x) and (np.ptp(places_x) or np.ptp(places_y)):
        categories = list(range(len(grid)))
        point = float(
            cohen_kappa_score(
                places_x.astype(int),
                places_y.astype(int),
                labels=categories,
                weights="quadratic",
                sample_weight=weights,
            )
        )
    return estimate(places_x, places_y, weights, quadratic_kappa, how, point)


def auc(scores: Floats, accepted: Floats, weights: Floats | None, how: Bootstrap) -> IntervalEstimate:
    """How often an accepted record has the higher score of two (ties count half)."""
    from sklearn.metrics import roc_auc_score

    point = math.nan
    if len(scores) and 0 < accepted.sum() < len(accepted):
        point = float(roc_auc_score(accepted, scores, sample_weight=weights))
    return estimate(scores, accepted, weights, area, how, point)


def hits(passed: Floats, accepted: Floats, weights: Floats | None, how: Bootstrap) -> dict[str, IntervalEstimate]:
    """Precision, recall and F1 of `passed` (1 or 0) against `accepted` (1 or 0)."""
    from sklearn.metrics import precision_recall_fscore_support

    found: dict[str, IntervalEstimate] = {}
    points = dict.fromkeys(("precision", "recall", "f1"), math.nan)
    if len(passed):
        by_library = precision_recall_fscore_support(
            accepted, passed, pos_label=1, average="binary", sample_weight=weights, zero_division=np.nan
        )
        points = dict(zip(points, map(float, by_library[:3]), strict=True))
    for name, by_table in (("precision", precision), ("recall", recall), ("f1", f1)):
        found[name] = estimate(passed, accepted, weights, by_table, how, points[name], values=(0.0, 1.0))
    return found


def mean(values: Floats, weights: Floats | None, how: Bootstrap) -> IntervalEstimate:
    """The (weighted) mean."""
    point = float(np.average(values, weights=weights)) if len(values) else math.nan
    return estimate(values, np.zeros(len(values)), weights, _mean, how, point)


def estimate(
    x: Floats,
    y: Floats,
    weights: Floats | None,
    statistic: Statistic,
    how: Bootstrap,
    point: float | None = None,
    values: tuple[float, ...] | None = None,
) -> IntervalEstimate:
    """A statistic with its interval. `point`: its value, where a library has said it already.

    `values` are those of both x and y, where they are known beforehand.
    """
    if point is None:
        point = float(statistic(table(x, y, weights, values))[0]) if len(x) else math.nan
    if not math.isfinite(point):
        return IntervalEstimate(None, None, None, len(x))
    if len(x) < LEAST_RECORDS:
        return IntervalEstimate(point, None, None, len(x))
    if values is None:
        x, y = _coarse(x), _coarse(y)
    at_once = max(1, _CELLS_AT_ONCE // max(_MOST_VALUES**2, len(x)))
    low, high = bootstrap(len(x), lambda drawn: statistic(tables(x, y, weights, drawn, values)), how, at_once)
    return IntervalEstimate(point, low, high, len(x))


def resamples(n: int, how: Bootstrap, at_once: int = 1) -> Iterator[Places]:
    """Numbers of records drawn with replacement from `n`, a resample in each row and up to `at_once` rows together."""
    random = np.random.default_rng(how.seed)
    for start in range(0, how.resamples, at_once):
        yield random.integers(0, n, (min(at_once, how.resamples - start), n))


def bootstrap(
    n: int, statistic: Callable[[Places], Floats], how: Bootstrap, at_once: int = 1
) -> tuple[float | None, float | None]:
    """The middle 95 % of a statistic over resamples of `n` records; None where too few of them define it.

    `statistic` gets resamples as `resamples` draws them, and gives a number for each, NaN where it is not defined.
    """
    found = np.concatenate([statistic(drawn) for drawn in resamples(n, how, at_once)] or [np.empty(0)])
    defined = found[np.isfinite(found)]
    if not len(found) or len(defined) < _LEAST_DEFINED * len(found):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _coarse(values: Floats) -> Floats:
    """Values merged into groups of like size, each group's mean in their place, where they are too many."""
    distinct, places = np.unique(values, return_inverse=True)
    if len(distinct) <= _MOST_VALUES:
        return values
    order = np.argsort(places.reshape(-1), kind="stable")
    group = np.empty(len(values), np.int64)
    group[order] = np.arange(len(values)) * _MOST_VALUES // len(values)
    first = np.full(len(distinct), _MOST_VALUES)
    np.minimum.at(first, places.reshape(-1), group)  # what is alike stays alike
    group = first[places.reshape(-1)]
    sums = np.bincount(group, weights=values, minlength=_MOST_VALUES)
    return np.asarray((sums / np.maximum(1, np.bincount(group, minlength=_MOST_VALUES)))[group])


def _placed(values: Floats, known: tuple[float, ...] | None) -> tuple[Floats, Any]:
    if known is None:
        distinct, places = np.unique(values, return_inverse=True)
        return distinct, places.reshape(-1)
    distinct = np.array(known, np.float64)
    return distinct, np.searchsorted(distinct, values)


def tables(
    x: Floats, y: Floats, weights: Floats | None, drawn: Places, values: tuple[float, ...] | None = None
) -> Tables:
    """A table for every row of `drawn`: the pairs of values of the records that it names, each as often as named."""
    (xs, at_x), (ys, at_y) = _placed(x, values), _placed(y, values)
    size = len(xs) * len(ys)
    cells = (at_x * len(ys) + at_y)[drawn] + np.arange(len(drawn))[:, None] * size
    carried = None if weights is None else weights[drawn].reshape(-1)
    sums = np.bincount(cells.reshape(-1), weights=carried, minlength=len(drawn) * size)
    return Tables(xs, ys, sums.astype(np.float64).reshape(len(drawn), len(xs), len(ys)))


def table(x: Floats, y: Floats, weights: Floats | None, values: tuple[float, ...] | None = None) -> Tables:
    """The one table of all records, each once."""
    return tables(x, y, weights, np.arange(len(x))[None, :], values)


# Statistics of tables: one number per table, NaN where it is not defined


def _share(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _correlated(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Pearson's r where x and y hold the values of rows and columns, per table."""
    rows, columns = weights.sum(axis=2), weights.sum(axis=1)
    whole = rows.sum(axis=1)
    off_x = x - _share((rows * x).sum(axis=1), whole)[:, None]
    off_y = y - _share((columns * y).sum(axis=1), whole)[:, None]
    together = np.einsum("bkl,bk,bl->b", weights, off_x, off_y)
    spread_x, spread_y = (rows * off_x**2).sum(axis=1), (columns * off_y**2).sum(axis=1)
    tiny = 1e-12 * whole
    defined = (spread_x > tiny * (1e-9 + (off_x**2).max(axis=1))) & (spread_y > tiny * (1e-9 + (off_y**2).max(axis=1)))
    found = _share(together, np.sqrt(spread_x * spread_y))
    return np.where(defined, found, np.nan)


def pearson(tables: Tables) -> Floats:
    """Pearson's r."""
    x = np.broadcast_to(tables.x, (len(tables.weights), len(tables.x)))
    y = np.broadcast_to(tables.y, (len(tables.weights), len(tables.y)))
    return _correlated(x, y, tables.weights)


def spearman(tables: Tables) -> Floats:
    """Spearman's rho: Pearson's r of midranks, a record's rank being the weight below it and half of its tie's."""
    return _correlated(_ranks(tables.weights.sum(axis=2)), _ranks(tables.weights.sum(axis=1)), tables.weights)


def _ranks(marginal: Floats) -> Floats:
    return np.cumsum(marginal, axis=1) - marginal / 2


def kendall(tables: Tables) -> Floats:
    """Kendall's tau-b; a pair of records weighs the product of their weights."""
    weights = tables.weights
    below = np.cumsum(np.cumsum(weights, axis=1), axis=2)
    lower_both = np.zeros_like(weights)
    lower_both[:, 1:, 1:] = below[:, :-1, :-1]
    lower_x = np.zeros_like(weights)
    lower_x[:, 1:, :] = np.cumsum(weights, axis=1)[:, :-1, :]
    higher_y = lower_x.sum(axis=2, keepdims=True) - np.cumsum(lower_x, axis=2)
    concordant, discordant = (weights * lower_both).sum(axis=(1, 2)), (weights * higher_y).sum(axis=(1, 2))
    whole = weights.sum(axis=(1, 2)) ** 2
    untied_x = (whole - (weights.sum(axis=2) ** 2).sum(axis=1)) / 2
    untied_y = (whole - (weights.sum(axis=1) ** 2).sum(axis=1)) / 2
    least = 1e-12 * whole
    found = _share(concordant - discordant, np.sqrt(np.maximum(untied_x, 0) * np.maximum(untied_y, 0)))
    return np.where((untied_x > least) & (untied_y > least), found, np.nan)


def quadratic_kappa(tables: Tables) -> Floats:
    """Cohen's kappa with quadratic weights; values are places on one grid."""
    weights = tables.weights
    apart = (tables.x[:, None] - tables.y[None, :]) ** 2
    seen = (weights * apart).sum(axis=(1, 2))
    expected = np.einsum("bk,bl,kl->b", weights.sum(axis=2), weights.sum(axis=1), apart)
    return 1 - _share(seen * weights.sum(axis=(1, 2)), expected)


def area(tables: Tables) -> Floats:
    """Area under the ROC curve of x for y = 1 against y = 0."""
    positive = tables.weights[:, :, tables.y == 1].sum(axis=2)
    negative = tables.weights[:, :, tables.y != 1].sum(axis=2)
    won = (positive * _ranks(negative)).sum(axis=1)
    return _share(won, positive.sum(axis=1) * negative.sum(axis=1))


def precision(tables: Tables) -> Floats:
    """Of what passed (x = 1), the share accepted (y = 1). Values must be (0, 1)."""
    return _share(tables.weights[:, 1, 1], tables.weights[:, 1, :].sum(axis=1))


def recall(tables: Tables) -> Floats:
    """Of what is accepted, the share that passed."""
    return _share(tables.weights[:, 1, 1], tables.weights[:, :, 1].sum(axis=1))


def f1(tables: Tables) -> Floats:
    """The harmonic mean of precision and recall."""
    return _share(
        2 * tables.weights[:, 1, 1], tables.weights[:, 1, :].sum(axis=1) + tables.weights[:, :, 1].sum(axis=1)
    )


def _mean(tables: Tables) -> Floats:
    rows = tables.weights.sum(axis=2)
    return _share((rows * tables.x).sum(axis=1), rows.sum(axis=1))
