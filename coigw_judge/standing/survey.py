"""What a bucket still needs: how many requests of which rubrics, of which rows.

It reads the bucket through join.read, as select/verdicts.py does: what select counts as done is never asked.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from coigw_judge.counts import Counts
from coigw_judge.decide.plan import Waits
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.standing import join
from coigw_judge.standing.asked_in_full import ShareCounts, count_share
from coigw_judge.standing.join import Bucket, JoinInput
from coigw_judge.storage.hash_ranges import Numbers
from coigw_judge.storage.paths import open_atomic
from coigw_judge.store.half_done import write_half_done
from coigw_judge.store.parts import Store

OPEN = pa.schema([("split", pa.int32()), ("row", pa.int64())])
"""Rows that have something to ask: survey's file, in input order."""


class RubricAsks(Counts):
    """Requests of one rubric. Of a sample of the rows these are estimates."""

    applies: float = 0
    in_store: float = 0
    """In the store."""
    failed: float = 0
    """Of those, without a score."""
    open: float = 0
    """Still to ask, at the most."""
    spared: float = 0
    """Not needed any more."""

    def add(self, fact: Scored | Unscored | None, is_open: bool, records: float) -> None:
        """Count records for which the rubric applies. `is_open`: whether anything is still asked of them."""
        self.applies += records
        self.in_store += records * (fact is not None)
        self.failed += records * isinstance(fact, Unscored)
        self.open += records * (fact is None and is_open)
        self.spared += records * (fact is None and not is_open)


class SurveyCounts(Counts):
    """What is still needed."""

    rows: int = 0
    """Records with open asks. Records with the same texts and genre count once: they share their facts."""
    asks: dict[str, RubricAsks] = Field(default_factory=dict)
    """By rubric."""
    waiting: Counter[Waits] = Field(default_factory=Counter)
    """Records by the rubrics that they may still be asked."""
    share: ShareCounts = ShareCounts()
    """The records that are asked in full, by scorecard."""


def survey_bucket(inputs: JoinInput, bucket: int, work: str | None = None) -> SurveyCounts:
    """What a bucket still needs.

    Writes into the folder `work`, where one is given: the numbers of the rows with open asks (open-*.parquet, schema
    OPEN) and the facts that these rows have (half_done.py).
    """
    joined = join.read(inputs, bucket)
    counts = SurveyCounts(share=count_share(inputs, bucket, joined.standings))
    for standing in joined.standings:
        counts.waiting.update(dict.fromkeys(standing.reached.waits(), standing.count))
        is_open = bool(standing.reached.open)
        for rubric, fact in standing.reached.card.facts.items():
            counts.asks.setdefault(rubric, RubricAsks()).add(fact, is_open, standing.count)
    needs = np.array(
        [bool(standing.reached.open or standing.reached.open_repeat) for standing in joined.standings], bool
    )
    wanted = np.flatnonzero(needs[joined.pattern]) if len(joined.standings) else joined.judged
    named = join.numbered(joined.genres)[wanted]
    one_each, _, _ = join.distinct([joined.first[joined.judged[wanted]], named])
    wanted = np.sort(wanted[one_each])
    if work is not None and len(wanted):
        _write_open(inputs, joined, wanted, work, bucket)
    counts.rows = len(wanted)
    return counts


def _write_open(inputs: JoinInput, joined: Bucket, wanted: Numbers, work: str, bucket: int) -> None:
    filesystem = Store(inputs.store).filesystem
    rows = joined.rows.select(OPEN.names).take(pa.array(joined.judged[wanted]))
    with open_atomic(filesystem, f"{work}/open-{bucket:05d}.parquet") as file:
        pq.write_table(rows.cast(OPEN), file, compression="zstd")
    places = np.unique(np.concatenate([at[wanted] for at in joined.fact_of.values()]))
    places = places[places >= 0]
    if len(places):
        write_half_done(filesystem, work, bucket, joined.facts.take(pa.array(places)))
