"""The workload: triplets with the paper's lengths and no meaning, the same for every system and every run.

Lengths are log-normal (arXiv 2510.14763, section 2): instead of being drawn they are the distribution's evenly spaced
quantiles in random order, its median set so that their mean is the paper's. So 20 records have the right mean too.
Texts are words of jieba's dictionary, drawn by their frequency, with punctuation and paragraphs between them: a
tokenizer sees about as many tokens per character as in prose.
Not known here: who judges.
"""

import importlib.util
import json
import math
import random
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import NormalDist, fmean

SEED = 20251016
_WORDS = 30_000
_MARKS = ("，", "，", "，", "，", "。", "。", "、", "；", "！", "？")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Characters of one field: the paper's least, mean and most, and the spread that fits these three."""

    least: int
    mean: int
    most: int
    sigma: float


LENGTHS = {
    "query": Lengths(30, 283, 2642, 0.75),
    "thought": Lengths(252, 1089, 4094, 0.43),
    "answer": Lengths(12, 2214, 31071, 1.0),
}


def write(path: Path, records: int) -> dict[str, float]:
    """Write `records` triplets as JSONL; returns the mean length of each field."""
    chance = random.Random(SEED)
    lengths = {field: spread(spec, records, chance) for field, spec in LENGTHS.items()}
    words = _Words(chance)
    with path.open("w", encoding="utf-8") as file:
        for number in range(records):
            row = {field: words.text(sizes[number]) for field, sizes in lengths.items()}
            file.write(json.dumps({"id": f"bench-{number:05d}", **row}, ensure_ascii=False) + "\n")
    return {field: fmean(sizes) for field, sizes in lengths.items()}


def spread(spec: Lengths, count: int, chance: random.Random) -> list[int]:
    """`count` lengths of this distribution in random order; their mean is the distribution's after clipping."""
    steps = [NormalDist().inv_cdf((n + 0.5) / count) for n in range(count)]

    def clipped(median: float) -> list[int]:
        return [min(spec.most, max(spec.least, round(median * math.exp(spec.sigma * step)))) for step in steps]

    low, high = 1.0, 4.0 * spec.mean
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if fmean(clipped(middle)) < spec.mean else (low, middle)
    found = clipped(high)
    chance.shuffle(found)
    return found


def texts(count: int, length: int, seed: int) -> list[str]:
    """`count` texts of the same length."""
    words = _Words(random.Random(SEED + seed))
    return [words.text(length) for _ in range(count)]


class _Words:
    """Draws words of Chinese by frequency."""

    def __init__(self, chance: random.Random) -> None:
        package = importlib.util.find_spec("jieba")
        if package is None or package.origin is None:
            raise SystemExit("bench: install jieba, whose dictionary the workload is made of")
        found: list[tuple[int, str]] = []
        for line in (Path(package.origin).parent / "dict.txt").read_text(encoding="utf-8").splitlines():
            word, frequency, _ = line.split(" ")
            if all("一" <= character <= "鿿" for character in word):
                found.append((int(frequency), word))
        found.sort(key=lambda pair: (-pair[0], pair[1]))
        self._words = [word for _, word in found[:_WORDS]]
        self._weights = list(accumulate(frequency for frequency, _ in found[:_WORDS]))
        self._chance = chance

    def text(self, length: int) -> str:
        """A text of exactly `length` characters: clauses, sentences, paragraphs."""
        parts: list[str] = []
        size = 0
        while size < length:
            clause = "".join(self._chance.choices(self._words, cum_weights=self._weights, k=self._chance.randint(2, 8)))
            mark = self._chance.choice(_MARKS)
            if mark == "。" and self._chance.random() < 0.2:
                mark = "。\n\n"
            parts += (clause, mark)
            size += len(clause) + len(mark)
        return f"{''.join(parts)[: length - 1].rstrip()}。".ljust(length, "。")
