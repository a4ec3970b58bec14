"""Dates as crawls write them, counts as sites write them."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coigw_judge.screens.dates import published
from coigw_judge.screens.engagement import count

MAY = date(2023, 5, 1)


@pytest.mark.parametrize(
    "value",
    [
        "2023年5月1日", "2023年05月01日 12:30", "2023 年 5 月 1 日", "二〇二三年五月一日", "二零二三年五月一日", "２０２３年５月１日",
        "2023-05-01", "2023-5-1", "2023/05/01 08:00", "2023.5.1", "20230501", "20230501083000", "2023年5月", "2023-05",
        "2023-05-01T08:00:00Z", "2023-05-01T23:59:59+08:00", "2023-05-01T00:00:00.000-0800", "2023-05-01 08:00:00 +0800 CST",
        "发布于 2023-05-01 08:00", "发表时间：2023年5月1日 来源：网络", "编辑于2023-05-01・北京", "  2023-05-01\n",
        "Mon, 01 May 2023 08:00:00 GMT", "May 1, 2023", "1 May 2023", "1st May, 2023", "May 2023", "Mon May  1 08:00:00 CST 2023",
        1682899200, 1682899200.5, 1682899200_000, 1682899200_000_000, 1682899200_000_000_000, "1682899200", "1682899200000",
        20230501, date(2023, 5, 1), datetime(2023, 5, 1, 23, 59), datetime(2023, 5, 1, tzinfo=UTC), datetime(2023, 5, 1, tzinfo=timezone(timedelta(hours=8))), Decimal("1682899200"),
    ],
)  # fmt: skip
def test_a_date_is_read(value: Any) -> None:
    assert published(value) == MAY


@pytest.mark.parametrize(
    "value",
    [
        None, "", "  ", "昨天 12:30", "3天前", "刚刚", "1小时前", "不详", "0000-00-00", "2023-13-01x", "1970-01-01", 0, -1, 1, 12345,
        "1970-01-01T00:00:00Z", float("nan"), float("inf"), True, b"2023-05-01", [2023, 5, 1], {"$date": 1}, "22-10-31", "2999-01-01", "13800138000", 10**30,
        "\ud800", "年月日", "2023-13-45", "9" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_date_is_missing(value: Any) -> None:
    assert published(value) is None


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2022", date(2022, 1, 1)),
        ("2023-02-30", date(2023, 2, 1)),
        (2022, date(2022, 1, 1)),
        ("2022年", date(2022, 1, 1)),
        ("二〇二二年十一月", date(2022, 11, 1)),
        ("二〇二二年十月三十一日", date(2022, 10, 31)),
        ("二〇二二年廿五日", date(2022, 1, 1)),
        ("01/05/2023", date(2023, 1, 5)),
        ("25/12/2022", date(2022, 12, 25)),
        ("12/25/2022", date(2022, 12, 25)),
        ("October 31, 2022", date(2022, 10, 31)),
        ("2022-10-31T23:59:59-08:00", date(2022, 10, 31)),
        ("2022-10-31 16:00:00+00:00", date(2022, 10, 31)),
    ],
)
def test_what_is_not_clear_counts_as_old(value: Any, day: date) -> None:
    assert published(value) == day


@given(st.dates(date(1971, 1, 1), date(2099, 12, 31)), st.sampled_from(["{:%Y-%m-%d}", "{:%Y/%m/%d %H:%M}", "{:%Y%m%d}", "{0.year}年{0.month}月{0.day}日", "{:%d %B %Y}", "{:%b %d, %Y}", "来自 {:%Y.%m.%d}"]))  # fmt: skip
def test_every_day_is_read_in_every_form(day: date, form: str) -> None:
    assert published(form.format(datetime(day.year, day.month, day.day, 8, 30))) == day


@given(
    st.datetimes(datetime(1974, 1, 1), datetime(2099, 12, 31)), st.sampled_from([1, 10**3, 10**6, 10**9]), st.booleans()
)
def test_unix_time_is_told_by_its_size(moment: datetime, unit: int, as_text: bool) -> None:
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    value: int | str = seconds * unit
    found = published(str(value) if as_text else value)
    # Ten digits that begin like a day of 1971-2099 are still seconds unless all eight first ones are such a day.
    assert found == moment.date() or (as_text and str(value)[:2] in ("19", "20"))


@given(
    st.text(st.characters(codec=None, categories=None), max_size=60)
    | st.integers()
    | st.floats()
    | st.none()
    | st.binary(max_size=9)
)
def test_nothing_breaks_the_reader(value: Any) -> None:
    found = published(value)
    assert found is None or 1971 <= found.year <= 2099


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0), (7, 7), (3.0, 3), ("1234", 1234), ("1,234", 1234), ("1.2万", 12_000), ("3.4w", 34_000), ("10万+", 100_000), ("10k+", 10_000),
        ("赞 12", 12), ("１２", 12), ("5次", 5), ("1.5亿", 150_000_000), (Decimal("8"), 8),
        (None, None), ("", None), ("-", None), ("赞", None), (-1, None), (float("nan"), None), (True, None), ([1], None), ("1 2", None), ("万", None),
    ],
)  # fmt: skip
def test_counts_as_sites_write_them(value: Any, number: float | None) -> None:
    assert count(value) == number
