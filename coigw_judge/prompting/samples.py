"""The samples of a request: of whom each is asked, whether it decides, how it is drawn, and what early exit spares.

    kind     number      asked of                                decides  temperature    early exit
    FIRST    0           every record                            yes      the judge's    spares what it can
    IN_FULL  0           a share (`samples.exhaustive`)          yes      the judge's    spares nothing
    REPEAT   1           a share (`samples.repeat`)              no       the judge's    spares what it can
    FURTHER  2 and more  who is due them (decide/)               yes      one of theirs  due only where nothing ended

What early exit leaves unasked tells nothing, so only records that are asked in full say how often each rubric would end
any record. The repeat says what re-asking alone changes. The number is part of the request's key, and so of every fact.
"""

from enum import StrEnum
from typing import Any, NewType

import numpy as np

Sample = NewType("Sample", int)
"""The number of a sample."""

FIRST = Sample(0)
REPEAT = Sample(1)
_FURTHER = 2


class SampleKind(StrEnum):
    """What a sample is asked for (see the table above)."""

    FIRST = "first"
    IN_FULL = "in_full"
    REPEAT = "repeat"
    FURTHER = "further"

    @classmethod
    def of(cls, sample: int) -> "SampleKind":
        """The kind of a number. It does not tell whether the record is asked in full: then this is FIRST too."""
        return cls.FURTHER if sample >= _FURTHER else cls.REPEAT if sample == REPEAT else cls.FIRST

    @property
    def decides(self) -> bool:
        """Whether the gate sees it."""
        return self is not SampleKind.REPEAT

    @property
    def early_exit(self) -> bool:
        """Whether early exit may spare some of it."""
        return self in (SampleKind.FIRST, SampleKind.REPEAT)

    def draws(self, record: bytes, share: float) -> bool:
        """Whether a record of this digest is in the share of the records that is asked for this."""
        return bool(self.draws_each(np.frombuffer(record, np.uint8)[None], share)[0])

    def draws_each(self, records: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
        """`draws` for many digests, shape (n, 16). A smaller share lies in a larger one."""
        at = _DRAWN_BY[self]
        bits = np.ascontiguousarray(records[:, at : at + 4]).view(">u4")[:, 0]
        return np.asarray(bits.astype(np.float64) < share * (1 << 32))


_DRAWN_BY = {SampleKind.IN_FULL: 8, SampleKind.REPEAT: 12}
"""The first of the four bytes of a record's digest that draw a share: no two alike, so that shares are independent.
(The first bytes of an answer's digest choose its bucket.)"""


def further(count: int) -> list[Sample]:
    """The further samples of a record that is asked `count` times in all, the repeat not counted."""
    return [Sample(number) for number in range(_FURTHER, count + 1)]
