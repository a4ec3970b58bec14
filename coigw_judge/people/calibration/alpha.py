"""Krippendorff's alpha: how far annotators agree beyond chance, whoever labelled what.

Written out here because no package takes weights; a test compares it with `krippendorff`.
"""

import math
from typing import Literal

import numpy as np

from coigw_judge.people.calibration.agreement import (
    LEAST_RECORDS,
    Bootstrap,
    Floats,
    IntervalEstimate,
    Places,
    bootstrap,
)

Level = Literal["nominal", "ordinal", "interval"]


def alpha(values: Floats, level: Level, weights: Floats | None, how: Bootstrap) -> IntervalEstimate:
    """Krippendorff's alpha between annotators: rows of `values` are records, columns annotators, NaN what is missing.

    `n` counts the records that at least two annotators labelled; the others say nothing about agreement.
    """
    given = (~np.isnan(values)).sum(axis=1)
    kept = given >= 2
    values, given = values[kept], given[kept].astype(np.float64)
    if not len(values):
        return IntervalEstimate(None, None, None, 0)
    own = np.ones(len(values)) if weights is None else weights[kept] / weights[kept].mean()
    distinct = np.unique(values[~np.isnan(values)])
    counts = np.stack([(values == value).sum(axis=1) for value in distinct], axis=1).astype(np.float64)
    point = _alpha(counts, given, distinct, level, own)
    if not math.isfinite(point):
        return IntervalEstimate(None, None, None, len(values))
    if len(values) < LEAST_RECORDS:
        return IntervalEstimate(point, None, None, len(values))

    def resampled(drawn: Places) -> Floats:
        times = (np.bincount(row, minlength=len(values)) for row in drawn)
        return np.array([_alpha(counts, given, distinct, level, own * each) for each in times])

    low, high = bootstrap(len(values), resampled, how)
    return IntervalEstimate(point, low, high, len(values))


def _alpha(counts: Floats, given: Floats, distinct: Floats, level: Level, weights: Floats) -> float:
    """1 - observed / expected disagreement. counts: (records, values), how many gave which value."""
    marginal = weights @ counts
    apart = _apart(distinct, marginal, level)
    seen = float(((weights / (given - 1))[:, None] * (counts @ apart) * counts).sum())
    whole = float(marginal.sum())
    expected = float(marginal @ apart @ marginal) / (whole - 1) if whole > 1 else 0.0
    return 1 - seen / expected if expected > 0 else math.nan


def _apart(distinct: Floats, marginal: Floats, level: Level) -> Floats:
    """Squared distance of each value from each other one."""
    if level == "nominal":
        return 1.0 - np.eye(len(distinct))
    if level == "interval":
        return np.asarray((distinct[:, None] - distinct[None, :]) ** 2)
    place = np.cumsum(marginal) - marginal / 2
    return np.asarray((place[:, None] - place[None, :]) ** 2)
