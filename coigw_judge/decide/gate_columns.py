"""The gate on many records at once: what each can come to at best, as columns of numbers.

What is known of a record, what applies to it, and whether its checks are true fall into few patterns. `Gate.assess`
says of one record of each pattern how the gate reads it; only the numbers are then filled in by column.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from coigw_judge.decide.gate import Gate, rubric_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Columns:
    """Records by column; all arrays have `rows` values."""

    rows: int
    scores: Mapping[str, Floats]
    """By dimension; NaN is not known."""
    checks: Mapping[str, Floats]
    """By check: 1 true, 0 false, NaN not known."""
    not_applicable: Mapping[str, Bools]
    """By rubric, whether it does not apply."""


@dataclass(frozen=True, slots=True)
class BestCase:
    """What records can come to, whatever thresholds of scores the gate has."""

    scores: Floats
    """A row per record, a column per dimension of the gate: the score; while it is not known, the highest that it can
    be; NaN where it does not apply."""
    lost: Bools
    """Whether a check failed, or nothing of the gate applies: no thresholds let the record pass."""
    known: Bools
    """Whether nothing that the gate looks at is unknown, or it does not matter as the record is lost."""


def at_best(gate: Gate, columns: Columns) -> BestCase:
    """What the gate reads in these records. The gate must be bound (`over` names its dimensions)."""
    over, rows = gate.over or (), columns.rows
    rubrics = tuple(dict.fromkeys(rubric_of(item) for item in (*over, *gate.require)))
    scores = _matrix([columns.scores[name] for name in over], rows)
    checks = _matrix([columns.checks[name] for name in gate.require], rows)
    lacks = _matrix([columns.not_applicable[name] for name in rubrics], rows) > 0
    firsts, pattern = _patterns(np.hstack([np.isnan(scores), np.isnan(checks), checks == 0, lacks]))
    own, instead = np.ones((len(firsts), len(over)), bool), np.zeros((len(firsts), len(over)))
    lost, known = np.zeros(len(firsts), bool), np.zeros(len(firsts), bool)
    for n, row in enumerate(firsts):
        judged = [None if math.isnan(value) else bool(value) for value in checks[row].tolist()]
        assessment = gate.assess(
            dict(zip(over, scores[row].tolist(), strict=True)),
            dict(zip(gate.require, judged, strict=True)),
            [rubric for rubric, lacking in zip(rubrics, lacks[row].tolist(), strict=True) if lacking],
        )
        own[n] = [one.value is not None for one in assessment.scores]
        instead[n] = [math.nan if one.met == "does not apply" else one.best for one in assessment.scores]
        lost[n], known[n] = assessment.lost, assessment.lost or not assessment.unknown
    return BestCase(np.where(own[pattern], scores, instead[pattern]), lost[pattern], known[pattern])


def _matrix(columns: Sequence[Floats | Bools], rows: int) -> Floats:
    return np.stack(columns, axis=1).astype(np.float64) if columns else np.zeros((rows, 0))


def _patterns(bits: Bools) -> tuple[list[int], npt.NDArray[np.int32]]:
    """The first row of each distinct pattern of bits, and for every row which pattern it has."""
    packed = np.packbits(bits, axis=1)
    of_row = pa.FixedSizeBinaryArray.from_buffers(pa.binary(packed.shape[1]), len(bits), [None, pa.py_buffer(packed)])
    encoded = of_row.dictionary_encode()
    pattern = encoded.indices.to_numpy()
    firsts = np.zeros(len(encoded.dictionary), np.int64)
    firsts[pattern[::-1]] = np.arange(len(bits))[::-1]
    return firsts.tolist(), pattern
