"""The samples of a request: which number is what, and who is drawn for a share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coigw_judge.prompting.samples import FIRST, REPEAT, SampleKind, further

DIGESTS = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=20)


def test_numbers_are_on_disk_and_stay() -> None:
    assert (FIRST, REPEAT, further(4)) == (0, 1, [2, 3, 4])
    assert [SampleKind.of(n).value for n in range(4)] == ["first", "repeat", "further", "further"]
    assert further(1) == further(0) == []


def test_the_repeat_alone_decides_nothing_and_early_exit_spares_nothing_of_what_is_asked_in_full() -> None:
    assert [kind for kind in SampleKind if not kind.decides] == [SampleKind.REPEAT]
    assert [kind for kind in SampleKind if kind.early_exit] == [SampleKind.FIRST, SampleKind.REPEAT]


@given(DIGESTS, st.floats(0, 1), st.floats(0, 1))
@pytest.mark.parametrize(("kind", "at"), [(SampleKind.IN_FULL, 8), (SampleKind.REPEAT, 12)])
def test_a_share_is_drawn_by_four_bytes_of_the_digest(
    kind: SampleKind, at: int, digests: list[bytes], one: float, other: float
) -> None:
    """A store holds the answers of those drawn before: other bytes would draw other records."""
    records = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
    small, large = sorted((one, other))
    inner, outer = (kind.draws_each(records, share).tolist() for share in (small, large))
    assert inner == [int.from_bytes(each[at : at + 4], "big") < small * (1 << 32) for each in digests]
    assert inner == [kind.draws(each, small) for each in digests]
    assert all(there for drawn, there in zip(inner, outer, strict=True) if drawn)
