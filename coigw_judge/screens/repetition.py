"""Repetition: how much of a text stood in it before.

The larger of two shares. Of the characters, those in lines that stood before, which sees short lines. Of the runs of
ten characters, those that stood before, which sees repeated paragraphs, loops, and a site's frame. (Gopher's rules
count lines, paragraphs and n-grams of each length apart, each with a threshold; on Chinese, lines and one length of
runs told the same texts. A compression ratio was tried: it grows with a text's length, these do not.)
Refrains are no fault: genres made of them are exempt (config.py).
"""

import numpy as np

from coigw_judge.screens.characters import BLANK, Characters
from coigw_judge.text.codepoints import Codes, text_of

RUN = 10
"""Characters of a run, blanks aside: longer than set phrases and names, shorter than a sentence."""

MULTIPLIER = 0x9E3779B97F4A7C15


def repeated(text: str, characters: Characters) -> tuple[float, str]:
    """The share of a text that stood before in it, and some of what did."""
    line_share, line = _repeated_lines(text)
    run_share, run = _repeated_runs(characters)
    return (line_share, line) if line_share >= run_share else (run_share, run)


def _repeated_lines(text: str) -> tuple[float, str]:
    seen: set[str] = set()
    total = again = 0
    first = ""
    for line in text.splitlines():
        bare = line.strip()
        total += len(bare)
        if bare in seen:
            again += len(bare)
            first = first or bare
        else:
            seen.add(bare)
    return (again / total, first) if again else (0.0, "")


def _repeated_runs(characters: Characters) -> tuple[float, str]:
    codes = characters.codes[characters.kinds != BLANK] if characters.counts[BLANK] else characters.codes
    windows = len(codes) - RUN + 1
    if windows < 2:
        return 0.0, ""
    hashes = run_hashes(codes.astype(np.uint64), RUN)
    ordered = np.sort(hashes)
    again = int(np.count_nonzero(ordered[1:] == ordered[:-1]))
    return again / windows, "" if not again else _example(hashes, ordered, codes)


def run_hashes(codes: Codes, run: int) -> Codes:
    """Polynomials over all runs of so many codes, each of two of half the length; arithmetic modulo 2**64 is meant."""
    if run == 1:
        return codes
    half = run // 2
    parts = run_hashes(codes, half)
    hashes: Codes = parts[:-half] * np.uint64(pow(MULTIPLIER, half, 2**64)) + parts[half:]
    return hashes[:-1] * np.uint64(MULTIPLIER) + codes[run - 1 :] if run % 2 else hashes


def _example(hashes: Codes, ordered: Codes, codes: Codes) -> str:
    at = int(np.flatnonzero(hashes == ordered[1:][ordered[1:] == ordered[:-1]][0])[0])
    return text_of(codes[at : at + RUN])
