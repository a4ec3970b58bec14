"""Leaks between texts that people wrote, found without a model: the answer's phrases in its query, and thoughts that
were copied from another record.

A query that quotes the article gives it away: its longest phrase that stands in the answer word for word, and the
share of its characters that lie in such phrases. Thoughts that share most of their five-character pieces are copies, or
one template filled in twice. Both point to records that a person should read; neither is proof (a title, a line of a
poem that the query must name, a stock opening).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coigw_judge.text.codepoints import codes_of

PHRASE = 8
"""Characters from which a common phrase counts; shorter ones are words that any two texts share."""
LONG, MUCH = 16, 0.3
"""A query is suspect with a common phrase of so many characters, or so much of it in common phrases."""
ALIKE = 0.5
"""Thoughts that share so much of the shorter one's pieces count as copies."""
_PIECE = 5
_KEPT_ONE_IN = 4
_MOST_OWNERS = 50
_LEAST_PIECES = 8
"""Texts of fewer kept pieces, some forty characters, are too short to call one a copy of another."""
_BLANKS = re.compile(r"\s+")

Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What a query has of its answer. `share`: of the query's characters, those within common phrases."""

    longest: str
    share: float

    @property
    def suspect(self) -> bool:
        """Whether a person should look."""
        return len(self.longest) >= LONG or (self.share >= MUCH and bool(self.longest))


def shared_phrases(query: str, answer: str) -> Shared:
    """The phrases of at least PHRASE characters that query and answer share, blanks left out."""
    query, answer = _BLANKS.sub("", query), _BLANKS.sub("", answer)
    longest, covered, start = "", 0, 0
    while start < len(query):
        length = PHRASE
        if query[start : start + length] not in answer or start + length > len(query):
            start += 1
            continue
        while start + length < len(query) and query[start : start + length + 1] in answer:
            length += 1
        covered += length
        if length > len(longest):
            longest = query[start : start + length]
        start += length
    return Shared(longest, covered / len(query) if query else 0.0)


def pieces(text: str) -> Hashes:
    """Hashes of a text's five-character pieces, one in four kept, the same ones in every text."""
    codes = codes_of(_BLANKS.sub("", text)).astype(np.uint64)
    if len(codes) < _PIECE:
        return np.empty(0, np.uint64)
    found = np.zeros(len(codes) - _PIECE + 1, np.uint64)
    for at in range(_PIECE):
        found = found * np.uint64(0x9E3779B97F4A7C15) + codes[at : at + len(found)]
    found = (found ^ (found >> np.uint64(31))) * np.uint64(0xD6E8FEB86659FD93)
    found ^= found >> np.uint64(29)
    return np.unique(found[found % np.uint64(_KEPT_ONE_IN) == 0])


def copies(texts: Sequence[Hashes]) -> list[tuple[int, int, float]]:
    """Pairs of texts (by index) that share at least ALIKE of the shorter one's pieces, most alike first.

    A piece that more than fifty texts share is a turn of phrase, and is not counted.
    """
    sizes = [len(each) for each in texts]
    if not sum(sizes):
        return []
    owners, every = np.repeat(np.arange(len(texts)), sizes), np.concatenate(list(texts))
    order = np.argsort(every, kind="stable")
    every, owners = every[order], owners[order]
    starts = np.flatnonzero(np.concatenate(([True], every[1:] != every[:-1])))
    counts: Counter[tuple[int, int]] = Counter()
    for start, stop in zip(starts, [*starts[1:], len(every)], strict=True):
        if 2 <= stop - start <= _MOST_OWNERS:
            group = owners[start:stop].tolist()
            counts.update((a, b) for at, a in enumerate(group) for b in group[at + 1 :])
    found = [
        (a, b, n / min(sizes[a], sizes[b])) for (a, b), n in counts.items() if min(sizes[a], sizes[b]) >= _LEAST_PIECES
    ]
    return sorted((each for each in found if each[2] >= ALIKE), key=lambda each: (-each[2], each[0], each[1]))
