"""The progress of a fill, on a terminal as a bar, in a pipe or a log as a plain line now and then.

`ray job logs` shows these lines, of a job that may run for days: so each says when it was written, and after the
first minutes they are rare.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

from coigw_judge.fill.ledger import FillTally
from coigw_judge.text.units import clock

OFTEN_SECONDS, SELDOM_SECONDS = 10.0, 60.0
"""Between two lines: at first, and later."""

FIRST_SECONDS = 300.0
"""How long `at first` is, from the first reply. Before it nothing happens that is worth a line every ten seconds."""


class FillProgress:
    """Shows rows, rows/s, tokens/s, cache hit rate and what remains. Call it with an actor pool's summed tally."""

    def __init__(self, rows: int, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._rows = rows
        self._stream = sys.stderr if stream is None else stream
        self._now = now
        self._started = now()
        self._first_row: float | None = None
        self._last_line = self._started
        self._bar = None
        if self._stream.isatty():
            form = "judging {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt} rows{postfix}"
            self._bar = tqdm(total=rows, file=self._stream, bar_format=form, leave=False, dynamic_ncols=True)
        else:
            self._line("starting the judge")

    def __call__(self, tally: FillTally) -> None:
        """Take new totals."""
        done = min(tally.rows, self._rows)
        now = self._now()
        if self._first_row is None and tally.made > 0:
            self._first_row = self._last_line = now
        if self._bar is not None:
            text = describe(tally, self._rows, now - (self._first_row or now))
            self._bar.n = done
            self._bar.set_postfix_str(text if self._first_row is not None else "starting the judge")
        elif now - self._last_line >= self._pause(now):
            self._last_line = now
            if self._first_row is None:
                self._line(f"the judge is starting, for {clock(now - self._started)} now")
            else:
                text = describe(tally, self._rows, now - self._first_row)
                self._line(f"{done:,} of {self._rows:,} rows ({done / self._rows:.0%}), {text}")

    def _pause(self, now: float) -> float:
        at_first = self._first_row is not None and now - self._first_row < FIRST_SECONDS
        return OFTEN_SECONDS if at_first else SELDOM_SECONDS

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, text: str) -> None:
        print(f"{time.strftime('%F %T')} judging: {text}", file=self._stream, flush=True)


def describe(tally: FillTally, rows: int, seconds: float) -> str:
    """Rates since the first reply, and the time that the remaining rows take at that pace."""
    done, prompt = tally.rows, tally.tokens.prompt
    tokens = prompt + tally.tokens.generated
    pace = done / seconds if seconds > 0 else 0.0
    hit = tally.tokens.cached / prompt if prompt else 0.0
    left = clock((rows - done) / pace) if pace else "?"
    speed = tokens / seconds if seconds > 0 else 0.0
    return f"{pace:.1f} rows/s, {speed:,.0f} tokens/s, cache {hit:.0%}, {left} left"
