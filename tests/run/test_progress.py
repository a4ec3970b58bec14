"""What a log shows of a fill: whole lines that bear their time, often at first and seldom later."""

import io
import re
from collections import Counter

from coigw_judge.fill.ledger import FillTally, TokensSpent
from coigw_judge.run.progress import FIRST_SECONDS, OFTEN_SECONDS, SELDOM_SECONDS, FillProgress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def shown(starting: int, judging: int, rows: int = 10_000) -> list[str]:
    """The lines of a fill whose judge starts for so many seconds and then does two rows a second, told every second."""
    clock, stream = Clock(), io.StringIO()
    progress = FillProgress(rows, stream, clock)
    for second in range(starting + judging):
        clock.at += 1
        done = max(0, second + 1 - starting)
        outcomes = {"answer": Counter(scored=4 * done)}
        tokens = TokensSpent(prompt=100 * done, cached=25 * done)
        progress(FillTally(rows=2 * done, outcomes=outcomes, tokens=tokens))
    progress.close()
    return stream.getvalue().splitlines()


def test_every_line_bears_its_time_and_nothing_that_moves_a_cursor():
    lines = shown(100, 100)
    assert len(lines) > 5
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d judging: [ -~]+", line), line


def test_a_judge_that_starts_for_long_says_so_once_a_minute():
    lines = shown(600, 0)
    assert len(lines) == 1 + 600 // int(SELDOM_SECONDS)
    assert lines[0].endswith("judging: starting the judge")
    assert lines[-1].endswith("the judge is starting, for 0:10:00 now")


def test_lines_come_often_at_first_and_seldom_later():
    first = int(FIRST_SECONDS)
    often = len(shown(1, first)) - 1
    both = len(shown(1, first + 3000)) - 1
    assert 0 <= first // int(OFTEN_SECONDS) - often <= 1
    assert 0 <= both - often - 3000 // int(SELDOM_SECONDS) <= 1


def test_a_line_tells_how_far_and_how_fast():
    assert shown(0, 101)[-1].endswith(
        " judging: 202 of 10,000 rows (2%), 2.0 rows/s, 101 tokens/s, cache 25%, 1:20:50 left"
    )
