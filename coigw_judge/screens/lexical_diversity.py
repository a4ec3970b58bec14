"""Lexical diversity: how many different words, as a diagnostic. No screen reads it, and it has no better direction.

`ttr` is the type-token ratio, as in the paper: different words by words, over jieba's words (jieba-rs, which has
jieba's dictionary and algorithm and is ten times as fast; tests hold it to jieba). It falls with a text's length,
so it is taken over the first characters of an answer (`screen.diversity`), and `mattr` beside it: the mean TTR of all
windows of 50 words, which length does not move.
Letters of other languages count as words as jieba cuts them.
"""

from collections.abc import Sequence

import numpy as np
import rjieba

WINDOW = 50
"""Words of a window of `mattr`; a text of fewer has none."""


def words(text: str) -> list[str]:
    """A text's words, marks and blanks aside."""
    return [word for word in rjieba.cut(text) if word[0].isalnum()]


def ttr(found: Sequence[str]) -> float | None:
    """Different words by words; None where there are none."""
    return len(set(found)) / len(found) if found else None


def mattr(found: Sequence[str], window: int = WINDOW) -> float | None:
    """The mean type-token ratio of all windows; None where the text is shorter than one.

    A word counts as new in every window that holds it and not an earlier one of its kind: those that begin after the
    last such word, so one pass is enough.
    """
    last_start = len(found) - window
    if last_start < 0:
        return None
    before: dict[str, int] = {}
    earlier = []
    for at, word in enumerate(found):
        earlier.append(before.get(word, -1))
        before[word] = at
    places = np.arange(len(found))
    starts = np.minimum(places, last_start) - np.maximum(earlier, places - window)
    return int(starts[starts > 0].sum()) / ((last_start + 1) * window)
