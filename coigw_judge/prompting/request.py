"""One judge request, and the key that names it for good.

A request's key is the 128-bit hash of all that decides the judge's answer: the ask fingerprint (model,
tokenizer, template, rubric, schema, sampling and retry policy), the digests of the fields
shown, the genre guidance shown, the sample number, for long records what their cut depends on (long_text.py), and for
further samples what they are drawn at (decide/further_samples.py).
Edit a rubric and exactly its requests have no fact yet; resume, rescoring and re-gating follow from that alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from coigw_judge.hashing import digest
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.prompting.samples import FIRST, Sample
from coigw_judge.prompting.template import Prompt
from coigw_judge.records.record import FieldName


@dataclass(frozen=True, slots=True)
class Need:
    """A request that a record still lacks: known before its text is at hand."""

    rubric: str
    key: bytes
    guidance: str | None
    """The rubric's guidance for the record's genre."""
    sample: Sample = FIRST
    temperature: float | None = None
    """A further sample's; None: the judge's own."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as a judge gets it."""

    key: bytes
    rubric: str
    prompt: Prompt
    schema: Mapping[str, Any]
    """The JSON schema of the reply."""
    reply_tokens: int
    """What a complete reply may take at the most, thinking not included."""
    sample: Sample = FIRST
    attempt: int = 0
    """Counts from 0."""
    temperature: float | None = None
    """Goes before the judge's own sampling where it is given."""
    expected: bool = False
    """The reply should carry expected scores too, as far as the judge can give them."""

    @property
    def seed(self) -> int:
        """The seed of sampling, the same for a sample and attempt in every run."""
        return seed(self.sample, self.attempt)


def seed(sample: int, attempt: int) -> int:
    """The seed of a sample's n-th try."""
    return sample * 1000 + attempt


def request_key(
    ask_fingerprint: str,
    rubric: Rubric,
    digests: Mapping[FieldName, bytes],
    guidance: str | None,
    sample: int,
    cut: bytes | None = None,
    temperature: float | None = None,
) -> bytes:
    """The 16-byte key of a request. Fields that the record lacks count as absent, not as empty.

    `cut` is HeadTail.key, for a record long enough that its texts may be shown cut. `temperature` is that of a further
    sample. A part that comes last may be left out: parts are framed, so fewer of them never read as others do.
    """
    shown = [digests.get(field) for field in rubric.fields]
    extra = None if guidance is None else guidance.encode()
    parts = [ask_fingerprint.encode(), *shown, extra, sample.to_bytes(4, "little")]
    return digest([*parts, *_last(cut, temperature)])


def request_keys(
    ask_fingerprint: str,
    shown: Sequence[np.ndarray[Any, Any] | None],
    guidance: str | None,
    sample: int,
    temperature: float | None = None,
) -> np.ndarray[Any, Any]:
    """`request_key` for many records at once that are not cut, shape (n, 16).

    `shown` are the digests of the rubric's fields, shape (n, 16) each, None for a field that all of these records lack.
    """
    parts = [ask_fingerprint.encode(), *shown, None if guidance is None else guidance.encode()]
    whole = (*parts, sample.to_bytes(4, "little"), *_last(None, temperature))
    pieces = [piece for part in whole for piece in _framed(part)]
    rows = max(len(piece) for piece in pieces)
    width = sum(piece.shape[1] for piece in pieces)
    hashed = np.concatenate([np.broadcast_to(piece, (rows, piece.shape[1])) for piece in pieces], axis=1).tobytes()
    keys = [xxhash.xxh3_128_digest(hashed[at : at + width]) for at in range(0, rows * width, width)]
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)


def _last(cut: bytes | None, temperature: float | None) -> list[bytes | None]:
    """What stands in a key behind what every key has: nothing, a cut, or a cut or none and how a sample is drawn."""
    if temperature is not None:
        return [cut, f"temperature {float(temperature)!r}".encode()]
    return [] if cut is None else [cut]


def _framed(part: bytes | np.ndarray[Any, Any] | None) -> list[np.ndarray[Any, Any]]:
    """A part as hashing.digest frames it: eight bytes of length, or eight of 0xff where there is none, then itself."""
    if part is None:
        return [np.full((1, 8), 0xFF, np.uint8)]
    column = np.frombuffer(part, np.uint8)[None, :] if isinstance(part, bytes) else part
    length = np.frombuffer(column.shape[1].to_bytes(8, "little"), np.uint8)[None, :]
    return [length, column]
