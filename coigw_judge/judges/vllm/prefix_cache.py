"""An ideal prefix cache: what of a request the engine could have had from requests before it.

A prefix cache holds whole blocks of tokens (vllm: 16 on GPUs, 32 in our CPU setting) under a hash of all tokens up to
the block's end. A request finds its longest run of cached blocks from the beginning; its last token is computed in any
case. This one never forgets what was asked in the neighbourhood and knows a request's tokens as soon as it is sent, so
no engine with the same prompts can have more from its cache: the dry run plans with it, a run is measured against it.
"""

from collections.abc import Sequence

import numpy as np
import xxhash


class PrefixCache:
    """An ideal prefix cache of bounded size; `block` tokens a block.

    After a `generation` of blocks it forgets what was not used for as long.
    """

    def __init__(self, block: int, generation: int = 400_000) -> None:
        self._block = block
        self._generation = generation
        self._new: set[int] = set()
        self._old: set[int] = set()

    def ask(self, ids: Sequence[int]) -> int:
        """Take a request's ids; how many of them were cached."""
        raw = np.asarray(ids, np.uint32).tobytes()
        wide = 4 * self._block
        digest, cached, unbroken = 0, 0, True
        for end in range(wide, len(raw) + 1, wide):
            digest = xxhash.xxh3_64_intdigest(raw[end - wide : end], seed=digest)
            unbroken = unbroken and (digest in self._new or digest in self._old)
            cached += unbroken
            self._new.add(digest)
        if len(self._new) > self._generation:
            self._old, self._new = self._new, set()
        return min(cached, max(0, len(ids) - 1) // self._block) * self._block
