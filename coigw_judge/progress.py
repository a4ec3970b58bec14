"""The progress of a fill, on a terminal as a bar, in a pipe or a log as a plain line now and then.

Not known here: where the numbers come from.
"""

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from tqdm import tqdm

LOG_SECONDS = 10.0


class FillProgress:
    """Shows rows, rows/s, tokens/s, cache hit rate and what remains. Call it with an actor pool's summed tally."""

    def __init__(self, rows: int, stream: TextIO | None = None) -> None:
        self._rows = rows
        self._stream = sys.stderr if stream is None else stream
        self._started = time.monotonic()
        self._first_row: float | None = None
        self._last_line = self._started
        self._bar = None
        if self._stream.isatty():
            form = "judging {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt} rows{postfix}"
            self._bar = tqdm(total=rows, file=self._stream, bar_format=form, leave=False, dynamic_ncols=True)
        else:
            self._line("starting the judge")

    def __call__(self, tally: Mapping[str, float]) -> None:
        """Take new totals."""
        done = int(tally.get("rows", 0))
        now = time.monotonic()
        if self._first_row is None and tally.get("asks.made", 0) > 0:
            self._first_row = now
        text = describe(tally, self._rows, now - (self._first_row or now))
        if self._bar is not None:
            self._bar.n = min(done, self._rows)
            self._bar.set_postfix_str(text if self._first_row else "starting the judge")
        elif self._first_row is not None and now - self._last_line >= LOG_SECONDS:
            self._last_line = now
            self._line(f"{done}/{self._rows} rows, {text}")

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, text: str) -> None:
        print(f"judging: {text}", file=self._stream, flush=True)


def describe(tally: Mapping[str, float], rows: int, seconds: float) -> str:
    """Rates since the first reply, and the time that the remaining rows take at that pace."""
    done, prompt = tally.get("rows", 0), tally.get("tokens.prompt", 0)
    tokens = prompt + tally.get("tokens.generated", 0)
    pace = done / seconds if seconds > 0 else 0.0
    hit = tally.get("tokens.cached", 0) / prompt if prompt else 0.0
    left = clock((rows - done) / pace) if pace else "?"
    speed = tokens / seconds if seconds > 0 else 0.0
    return f"{pace:.1f} rows/s, {speed:,.0f} tokens/s, cache {hit:.0%}, {left} left"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = int(seconds + 0.5)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
