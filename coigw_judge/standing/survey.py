"""What a bucket still needs: how many requests of which rubrics, of which rows.

It reads the bucket through bucket.read, as select/verdicts.py does: what select calls done is never asked.
Not known here: Ray, judges, the texts of records.
"""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coigw_judge.decide.plan import Waits
from coigw_judge.replies.outcome import Unscored
from coigw_judge.standing import asked_in_full
from coigw_judge.standing import join as buckets
from coigw_judge.standing.join import Bucket, View
from coigw_judge.storage.hash_ranges import Numbers
from coigw_judge.storage.paths import open_atomic
from coigw_judge.store.half_done import write_half_done
from coigw_judge.store.parts import Store

OPEN = pa.schema([("split", pa.int32()), ("row", pa.int64())])
"""Rows that have something to ask: survey's file, in input order."""


def survey_bucket(view: View, bucket: int, work: str | None = None) -> dict[str, Any]:
    """What a bucket still needs.

    Returns `rows`, how many records have open asks, and `asks`: per rubric how many of its requests apply, are in the
    store (`known`), failed there, are open at the most, and are not needed any more (`spared`). `waiting` counts
    records by what they wait for (Waits), `share` what is known of those asked in full (asked_in_full.told). Into the
    folder `work` go the numbers of the rows with open asks (OPEN, open-*.parquet) and the facts that they have
    (half_done.py). Of records with the same texts and genre only the first is to be asked: the others share its facts.
    """
    found = buckets.read(view, bucket)
    asks: Counter[str] = Counter()
    waiting: Counter[Waits] = Counter()
    for each in found.standings:
        waiting.update(dict.fromkeys(each.reached.waits(), each.count))
        is_open = bool(each.reached.open)
        for rubric, fact in each.reached.card.facts.items():
            asks[f"{rubric}.applies"] += each.count
            asks[f"{rubric}.known"] += each.count * (fact is not None)
            asks[f"{rubric}.failed"] += each.count * isinstance(fact, Unscored)
            asks[f"{rubric}.open"] += each.count * (fact is None and is_open)
            asks[f"{rubric}.spared"] += each.count * (fact is None and not is_open)
    needs = np.array([bool(each.reached.open or each.reached.open_repeat) for each in found.standings], bool)
    wanted = np.flatnonzero(needs[found.pattern]) if len(found.standings) else found.judged
    named = buckets.numbered(found.genres)[wanted]
    one_each, _, _ = buckets.distinct([found.first[found.judged[wanted]], named])
    wanted = np.sort(wanted[one_each])
    if work is not None and len(wanted):
        _write_open(view, found, wanted, work, bucket)
    share = asked_in_full.told(view, bucket, found.standings)
    return {"rows": len(wanted), "asks": asks, "waiting": waiting, "share": share}


def _write_open(view: View, found: Bucket, wanted: Numbers, work: str, bucket: int) -> None:
    filesystem = Store(view.store).filesystem
    rows = found.rows.select(OPEN.names).take(pa.array(found.judged[wanted]))
    with open_atomic(filesystem, f"{work}/open-{bucket:05d}.parquet") as file:
        pq.write_table(rows.cast(OPEN), file, compression="zstd")
    places = np.unique(np.concatenate([at[wanted] for at in found.fact_of.values()]))
    places = places[places >= 0]
    if len(places):
        write_half_done(filesystem, work, bucket, found.facts.take(pa.array(places)))
