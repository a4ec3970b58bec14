"""An index of sorted 128-bit keys; many keys are looked up at once, by vectorised bisection.

Two uint64 arrays hold the sorted keys, which may be memory-mapped: 16 bytes a key, so 100 million keys are 1.6 GB
of address space of which a look-up touches a few pages. The first 64 bits almost always decide; keys that share
them are told apart by the other 64.
"""

from dataclasses import dataclass

import numpy as np

from coigw_judge.storage.hash_ranges import Numbers

ABSENT = -1


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """Keys in ascending order, high half before low half; each key once."""

    high: Numbers
    low: Numbers

    def find(self, high: Numbers, low: Numbers) -> Numbers:
        """The position of every wanted key, ABSENT where it is not there. Wanted keys come in any order."""
        places = np.full(len(high), ABSENT, np.int64)
        if not len(self.high) or not len(high):
            return places
        at = np.searchsorted(self.high, high)
        wanted = np.arange(len(high))
        while len(wanted):
            # Neighbours with the same high half are tried one after the other: one round nearly always ends it.
            inside = at < len(self.high)
            wanted, at = wanted[inside], at[inside]
            same = self.high[at] == high[wanted]
            wanted, at = wanted[same], at[same]
            hit = self.low[at] == low[wanted]
            places[wanted[hit]] = at[hit]
            wanted, at = wanted[~hit], at[~hit] + 1
        return places
