"""MinHash sketches of answers, cut into bands: answers that share a band are likely nearly the same.

The recipe is the one that FineWeb was made with: runs of five, 14 bands of 8 hashes; but characters take the place of
words, blanks and marks are left out and letters made small, so that another site's punctuation changes nothing. Two
answers whose runs overlap by 0.85 (Jaccard) share a band with a probability of 99 %, at 0.75 of 77 %, at 0.6 of 21 %,
at 0.4 of 1 %. Hashing the runs is ours (a polynomial over code points, in numpy), the sketch is rensa's.
"""

from collections.abc import Sequence

import numpy as np
import xxhash
from rensa import RMinHash

from coigw_judge.screens.characters import HAN, LETTER, LOOKED_AT, NUMBER, characters
from coigw_judge.text.codepoints import Codes

RUN = 5
BANDS = 14
ROWS = 8
_SEED = 20221031
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def bands(texts: Sequence[str]) -> list[list[bytes]]:
    """Per text the digests of its bands, 16 bytes each; none for a text without letters and digits."""
    hashed = [_runs(text) for text in texts]
    sketched = [runs for runs in hashed if len(runs)]
    if not sketched:
        return [[] for _ in texts]
    offsets = np.cumsum([0, *map(len, sketched)]).tolist()
    flat = np.concatenate(sketched)
    rows = iter(RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, BANDS * ROWS, _SEED).to_rows())
    return [_bands(next(rows)) if len(runs) else [] for runs in hashed]


def _bands(row: Sequence[int]) -> list[bytes]:
    raw = np.asarray(row, "<u4").tobytes()
    size = 4 * ROWS
    return [xxhash.xxh3_128_digest(raw[n * size : (n + 1) * size], seed=n + 1) for n in range(BANDS)]


def _runs(text: str) -> Codes:
    """Hashes of a text's runs of characters; of one shorter than a run, of the whole."""
    found = characters(text[:LOOKED_AT].casefold())
    codes = found.codes[np.isin(found.kinds, (HAN, LETTER, NUMBER))].astype(np.uint64)
    if not len(codes):
        return codes
    run = min(RUN, len(codes))
    windows = len(codes) - run + 1
    hashes = np.full(windows, run, np.uint64)
    for offset in range(run):  # arithmetic modulo 2**64 is meant
        hashes = (hashes ^ codes[offset : offset + windows]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
    return hashes
