"""Statistics against scipy, scikit-learn and krippendorff, and against answers that are known beforehand."""

import math
from collections.abc import Callable

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from sklearn import metrics

from coigw_judge.people.calibration import agreement
from coigw_judge.people.calibration.agreement import Bootstrap, Floats, Tables
from coigw_judge.people.calibration.alpha import alpha

HOW = Bootstrap(resamples=200, seed=7)
NONE = Bootstrap(resamples=0)
BY_TABLE: dict[str, tuple[Callable[[Tables], Floats], Callable[..., object]]] = {
    "pearson": (agreement.pearson, stats.pearsonr),
    "spearman": (agreement.spearman, stats.spearmanr),
    "kendall": (agreement.kendall, stats.kendalltau),
}
score = st.integers(0, 10).map(float)
columns = st.integers(3, 40).flatmap(lambda n: st.tuples(*[arrays.arrays(float, n, elements=score)] * 2))


def pairs(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """A judge and people who agree fairly well; ties abound."""
    random = np.random.default_rng(seed)
    truth = random.normal(7, 1.5, n)
    return tuple(np.clip(np.round(truth + random.normal(0, 1, n)), 0, 10) for _ in range(2))


@pytest.mark.parametrize("name", BY_TABLE)
@given(columns)
def test_correlations_by_table_are_scipys(name, both):
    x, y = both
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert math.isnan(BY_TABLE[name][0](agreement.table(x, y, None))[0])
        return
    ours, theirs = BY_TABLE[name]
    assert ours(agreement.table(x, y, None))[0] == pytest.approx(theirs(x, y).statistic, abs=1e-9)


@pytest.mark.parametrize("name", BY_TABLE)
def test_the_point_estimate_is_scipys_own(name):
    x, y = pairs(300)
    found = agreement.correlations(x, y, None, HOW)[name]
    assert found.value == pytest.approx(BY_TABLE[name][1](x, y).statistic, abs=1e-12) and found.n == 300
    assert found.low < found.value < found.high


@pytest.mark.parametrize("name", BY_TABLE)
def test_a_weight_of_three_is_a_record_three_times(name):
    x, y = pairs(60)
    times = np.random.default_rng(1).integers(1, 4, 60)
    weighted = BY_TABLE[name][0](agreement.table(x, y, times.astype(float)))[0]
    assert weighted == pytest.approx(BY_TABLE[name][1](np.repeat(x, times), np.repeat(y, times)).statistic, abs=1e-9)


def test_weights_undo_a_sample_that_was_drawn_unevenly():
    x, y = pairs(20_000)
    passed = x >= 8
    drawn = np.concatenate([np.flatnonzero(passed)[:700], np.flatnonzero(~passed)[:700]])
    weights = np.where(passed[drawn], passed.sum() / 700, (~passed).sum() / 700)
    whole = stats.spearmanr(x, y).statistic
    alone = agreement.correlations(x[drawn], y[drawn], None, NONE)["spearman"].value
    weighted = agreement.correlations(x[drawn], y[drawn], weights, NONE)["spearman"].value
    assert abs(weighted - whole) < 0.04 and abs(weighted - whole) < abs(alone - whole)


def test_values_without_spread_have_no_correlation_and_no_interval():
    flat = np.full(10, 8.0)
    for found in agreement.correlations(flat, np.arange(10.0), None, HOW).values():
        assert (found.value, found.low, found.high, found.n) == (None, None, None, 10)
    empty = agreement.correlations(np.empty(0), np.empty(0), None, HOW)
    assert {each.value for each in empty.values()} == {None}


@given(columns)
def test_kappa_by_table_is_scikit_learns(both):
    x, y = both
    grid = np.arange(11.0)
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return
    theirs = metrics.cohen_kappa_score(x.astype(int), y.astype(int), labels=range(11), weights="quadratic")
    assert agreement.quadratic_kappa(agreement.table(x, y, None))[0] == pytest.approx(theirs, abs=1e-9)
    assert agreement.kappa(x, y, grid, None, NONE).value == pytest.approx(theirs, abs=1e-9)


def test_kappa_on_half_steps_puts_means_on_the_grid():
    x, y = pairs(80)
    grid = np.arange(0, 10.5, 0.5)
    assert agreement.kappa(x, x + 0.2, grid, None, NONE).value == 1.0
    theirs = metrics.cohen_kappa_score((2 * x).astype(int), (2 * y).astype(int), labels=range(21), weights="quadratic")
    assert agreement.kappa(x, y, grid, None, NONE).value == pytest.approx(theirs, abs=1e-9)


@given(columns, st.integers(0, 10))
def test_auc_and_hits_by_table_are_scikit_learns(both, least):
    x, y = both
    weights = 1 + np.arange(len(x)) % 3.0
    accepted, passed = (y >= least).astype(float), (x >= least).astype(float)
    if 0 < accepted.sum() < len(y):
        theirs = metrics.roc_auc_score(accepted, x, sample_weight=weights)
        assert agreement.area(agreement.table(x, accepted, weights))[0] == pytest.approx(theirs, abs=1e-9)
        assert agreement.auc(x, accepted, weights, NONE).value == pytest.approx(theirs, abs=1e-9)
    told = metrics.precision_recall_fscore_support(
        accepted, passed, average="binary", pos_label=1, sample_weight=weights, zero_division=np.nan
    )
    table = agreement.table(passed, accepted, weights, (0.0, 1.0))
    for theirs, ours in zip(told[:3], (agreement.precision, agreement.recall, agreement.f1), strict=True):
        assert ours(table)[0] == pytest.approx(theirs, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_alpha_is_that_of_the_package(level, missing):
    random = np.random.default_rng(5)
    truth = random.integers(1, 6, (80, 1))
    values = np.clip(truth + random.integers(-1, 2, (80, 4)), 1, 6).astype(float)
    values[random.random(values.shape) < missing] = np.nan
    found = alpha(values, level, None, HOW)
    assert found.value == pytest.approx(
        krippendorff.alpha(reliability_data=values.T, level_of_measurement=level), abs=1e-9
    )
    assert found.low < found.value < found.high
    assert found.n == ((~np.isnan(values)).sum(axis=1) >= 2).sum()


def test_alpha_with_weights_is_alpha_of_repeated_records():
    values = np.array([[1, 1, 2], [3, 3, 3], [2, np.nan, 1], [5, 4, 4], [1, 5, np.nan]])
    times = np.array([1, 2, 1, 3, 1])
    weighted = alpha(values, "nominal", times.astype(float), NONE).value
    assert 0 < weighted < 1
    # Weights are scaled to a mean of 1, so only what hangs on the number of values (n - 1) differs.
    repeated = alpha(np.repeat(values, times, axis=0), "nominal", None, NONE).value
    assert weighted == pytest.approx(repeated, abs=0.06)
    assert weighted != alpha(values, "nominal", None, NONE).value


def test_alpha_without_a_shared_record_is_not_known():
    assert alpha(np.array([[1, np.nan], [np.nan, 2]]), "interval", None, HOW).value is None
    assert alpha(np.array([[3.0, 3.0], [3.0, 3.0]]), "interval", None, HOW).value is None


def test_intervals_cover_and_shrink_and_are_the_same_each_time():
    x, y = pairs(100_000, seed=3)
    truth = np.corrcoef(x, y)[0, 1]
    covered, widths = 0, []
    for start in range(0, 100 * 100, 100):
        found = agreement.correlations(x[start : start + 100], y[start : start + 100], None, HOW)["pearson"]
        covered += found.low <= truth <= found.high
        widths.append(found.high - found.low)
    assert 85 <= covered <= 100
    large = agreement.correlations(x[:2000], y[:2000], None, HOW)["pearson"]
    assert large.high - large.low < np.mean(widths) / 3
    assert large == agreement.correlations(x[:2000], y[:2000], None, HOW)["pearson"]
    other = agreement.correlations(x[:2000], y[:2000], None, Bootstrap(200, 8))["pearson"]
    assert other.value == large.value and other.low != large.low


def test_many_values_are_merged_for_intervals_and_not_for_the_figure():
    random = np.random.default_rng(2)
    x = random.random(1500)
    y = x + random.random(1500)
    found = agreement.correlations(x, y, None, Bootstrap(100))["spearman"]
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.low < found.value < found.high and found.high - found.low < 0.1


def test_a_handful_of_records_has_a_figure_and_no_interval():
    x, y = np.array([1.0, 2, 4, 7]), np.array([2.0, 2, 5, 6])
    found = agreement.correlations(x, y, None, HOW)["pearson"]
    assert found.value == pytest.approx(stats.pearsonr(x, y).statistic) and found.low is found.high is None
    assert alpha(np.array([[1, 1], [2, 3], [3, 3]]), "interval", None, HOW).low is None
