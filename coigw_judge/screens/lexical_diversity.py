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


def ttr(words_of_text: Sequence[str]) -> float | None:
    """Different words by words; None where there are none."""
    return len(set(words_of_text)) / len(words_of_text) if words_of_text else None


def mattr(words_of_text: Sequence[str], window: int = WINDOW) -> float | None:
    """The mean type-token ratio of all windows; None where the text is shorter than one.

    A word counts as new in every window that holds it and not an earlier one of its kind: those that begin after the
    last such word, so one pass is enough.
    """
    last_start = len(words_of_text) - window
    if last_start < 0:
        return None
    before: dict[str, int] = {}
    earlier = []
    for at, word in enumerate(words_of_text):
        earlier.append(before.get(word, -1))
        before[word] = at
    places = np.arange(len(words_of_text))
    starts = np.minimum(places, last_start) - np.maximum(earlier, places - window)
    return int(starts[starts > 0].sum()) / ((last_start + 1) * window)
