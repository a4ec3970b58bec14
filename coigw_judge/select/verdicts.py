"""The verdicts of a bucket, one for every row.

Verdicts are built as columns, not row by row: all rows of a pattern (join.Standing) share what their decision rests
on, the rest is taken from the facts' columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coigw_judge.decide.gate import Gate
from coigw_judge.prompting.request import Need
from coigw_judge.prompting.samples import FIRST
from coigw_judge.records import genres
from coigw_judge.replies.outcome import Unscored
from coigw_judge.run_folder.verdict_schema import NUMBERS, STRINGS, VERDICT_COLUMNS, verdict_schema
from coigw_judge.select import expected
from coigw_judge.select.counts import SelectCounts, of_genres, of_standings, value_counts
from coigw_judge.standing import join
from coigw_judge.standing.asked_in_full import count_share
from coigw_judge.standing.join import Bucket, JoinInput, Standing
from coigw_judge.storage import hash_ranges
from coigw_judge.storage.hash_ranges import Numbers
from coigw_judge.storage.paths import open_atomic, open_filesystem

_ROW_GROUP = 4096
"""Rows of a Parquet row group. Verdicts stand in input order, so a reader of some splits reads few groups."""


def decide_bucket(inputs: JoinInput, bucket: int, folder: str) -> SelectCounts:
    """Decide a bucket's rows and write them as one part of `folder`."""
    joined = join.read(inputs, bucket, VERDICT_COLUMNS)
    schema = verdict_schema(inputs.plan)
    columns = _settled_columns(inputs, joined) | _judged_columns(inputs, joined)
    table = pa.table([columns[name] for name in schema.names], schema=schema)
    filesystem, inner = open_filesystem(folder)
    with open_atomic(filesystem, f"{inner}/part-{bucket:05d}.parquet") as file:
        pq.write_table(table, file, compression="zstd", row_group_size=_ROW_GROUP)
    counts = of_standings(inputs.plan.gate, joined.standings)
    counts.decisions = value_counts(table["decision"])
    counts.flags = value_counts(table["flags"].combine_chunks().flatten())
    counts.genres = of_genres(table)
    counts.share = count_share(inputs, bucket, joined.standings)
    counts.expected = expected.count(inputs.plan, joined)
    return counts


def _settled_columns(inputs: JoinInput, bucket: Bucket) -> dict[str, pa.Array]:
    """The columns that need no facts, but for some flags."""
    rows = bucket.rows
    names = pa.array([piece.name for piece in inputs.scan.splits], pa.string())
    duplicate = (bucket.first != np.arange(rows.num_rows)) & pc.is_null(rows["screened"]).to_numpy()
    return {
        "row_id": _row_ids(inputs, rows),
        "id": rows["id"],
        "file": names.take(rows["split"].combine_chunks()),
        "position": rows["position"],
        "chars": rows["chars"],
        "record": hash_ranges.as_hex(rows["record"]),
        **{name: rows[name] for name in ("suspected", "screens", "published", "source", "region", "ttr", "mattr")},
        "flags": _flags(inputs, bucket, duplicate),
    }


def _flags(inputs: JoinInput, bucket: Bucket, duplicate: Numbers) -> pa.Array:
    """The flags of every row, from three sources.

    The scan's, with `duplicate` for a text that stood before, where such rows are kept. The names of the flags of its
    scored first samples: a text was cut (long_text.py), the judge's server saw it changed (control_tokens.py), an
    expected score is missing. And STOOD_IN, where the gate took a sampled score for a missing one (expected.py).
    """
    flags = [own or [] for own in bucket.rows["flags"].to_pylist()]
    if not inputs.drop_duplicates:
        for row in np.flatnonzero(duplicate).tolist():
            flags[row].append("duplicate")
    fact_flags = bucket.facts["flags"]
    flagged = (pc.list_value_length(fact_flags).to_numpy() > 0) & _of_first_samples(bucket)
    if np.any(flagged):
        flagged &= pc.is_null(bucket.facts["cause"]).to_numpy()
        of_fact = {at: _names(fact_flags[at].as_py()) for at in np.flatnonzero(flagged).tolist()}
        for name in sorted(set().union(*of_fact.values())):
            named = np.zeros(len(flagged), bool)
            named[[at for at, names in of_fact.items() if name in names]] = True
            for row in bucket.judged[_with_fact(bucket, named)].tolist():
                flags[row].append(name)
    for row in bucket.judged[expected.stood_in(inputs.plan, bucket)].tolist():
        flags[row].append(expected.STOOD_IN)
    return pa.array(flags, STRINGS)


def _of_first_samples(bucket: Bucket) -> Numbers:
    """Which facts are a row's first sample. Verdicts leave out the flags of further ones, which say how they were
    drawn."""
    firsts = np.zeros(len(bucket.facts), bool)
    for (_, sample), at in bucket.fact_of.items():
        if sample == FIRST:
            firsts[at[at >= 0]] = True
    return firsts


def _names(flags: list[str]) -> set[str]:
    """The names of a fact's flags: a name, or a name, a colon and what it says."""
    return {flag.partition(":")[0] for flag in flags}


def _with_fact(bucket: Bucket, named: Numbers) -> Numbers:
    """Which of the judged rows have one of these facts, of their first samples."""
    judged = np.zeros(len(bucket.judged), bool)
    for (_, sample), at in bucket.fact_of.items():
        if sample == FIRST:
            judged[at >= 0] |= named[at[at >= 0]]
    return judged


def _judged_columns(inputs: JoinInput, bucket: Bucket) -> dict[str, pa.Array]:
    """The columns that rest on facts. Rows that were settled without the judge get their decision and reason here."""
    per_pattern = [_decided(inputs.plan.gate, standing) for standing in bucket.standings]
    spread = _Spread(bucket)
    columns: dict[str, pa.Array] = {}
    for name, kind in _PER_PATTERN.items():
        not_judged: Any = [] if kind == STRINGS else None
        columns[name] = spread.patterns([*(row[name] for row in per_pattern), not_judged], kind)
    columns["decision"], columns["reasons"] = _with_settled(inputs, bucket, columns["decision"], columns["reasons"])
    columns["genre"] = spread.rows(bucket.genres)
    columns["category"] = _categories(columns["genre"])
    several = [
        card.scores() if card.samples else {} for card in (standing.reached.card for standing in bucket.standings)
    ]
    for rubric in (*inputs.plan.rubrics, *inputs.plan.then):
        at = bucket.fact_of[rubric.name, FIRST]
        for kind_name, items in (
            ("scores", rubric.dimensions),
            ("checks", rubric.checks),
            ("choices", rubric.choices),
        ):
            for item in items:
                values = join.looked_up(bucket.facts[kind_name], item.key)
                name = f"{rubric.name}.{item.key}"
                columns[name] = spread.facts(values, at)
                if kind_name == "scores" and any(several):
                    columns[name] = spread.instead(columns[name], [scores.get(name) for scores in several])
    asked = [(rubric.name, bucket.fact_of[rubric.name, FIRST]) for rubric in (*inputs.plan.rubrics, *inputs.plan.then)]
    columns["judge_reasons"] = spread.maps(bucket.facts["reasons"], asked)
    columns["notes"] = spread.maps(bucket.facts["notes"], asked)
    columns["expected"] = spread.maps(bucket.facts["expected"], asked)
    return columns


def _categories(names: pa.Array) -> pa.Array:
    """The category of every genre, in Chinese; null where the taxonomy does not know it."""
    encoded = pc.dictionary_encode(names)
    categories = [genres.category(name) for name in encoded.dictionary.to_pylist()]
    return pa.array([category and category.zh for category in categories], pa.string()).take(encoded.indices)


_PER_PATTERN: Mapping[str, pa.DataType] = {
    "decision": pa.string(),
    "action": pa.string(),
    "reasons": STRINGS,
    "total": pa.float64(),
    "asked": STRINGS,
    "skipped": STRINGS,
    "not_applicable": STRINGS,
    "repeat_decision": pa.string(),
    "repeat_scores": NUMBERS,
    "samples": pa.int32(),
    "spread": NUMBERS,
}


class _Spread:
    """Spreads values per pattern, per judged row or per fact over the rows of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._judged = np.full(bucket.rows.num_rows, -1, np.int64)
        self._judged[bucket.judged] = np.arange(len(bucket.judged))

    def patterns(self, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        """Values per pattern; the last of them is for rows that are not judged."""
        at = np.full(self._bucket.rows.num_rows, len(values) - 1, np.int64)
        at[self._bucket.judged] = self._bucket.pattern
        return pa.array(values, kind).take(pa.array(at))

    def instead(self, values: pa.Array, per_pattern: Sequence[float | None]) -> pa.Array:
        """Scores per row, replaced by the score of the row's pattern where it has one."""
        return pc.coalesce(self.patterns([*per_pattern, None], pa.float64()), values)

    def rows(self, values: pa.Array) -> pa.Array:
        """Genres per judged row; where there is none, and for the other rows, the genre of the scan."""
        at = pa.array(self._judged, mask=self._judged < 0)
        return pc.coalesce(values.take(at), self._bucket.rows["genre"].combine_chunks())

    def facts(self, values: pa.Array, at: Numbers) -> pa.Array:
        """Values per fact, where `at` has the place of each judged row's fact."""
        places = self._places(at)
        return values.take(pa.array(places, mask=places < 0))

    def _places(self, at: Numbers) -> Numbers:
        places = np.full(self._bucket.rows.num_rows, -1, np.int64)
        places[self._bucket.judged] = at
        return places

    def maps(self, values: pa.ChunkedArray, asked: Sequence[tuple[str, Numbers]]) -> pa.Array:
        """One map per row out of its facts' maps, the keys as `rubric.item`."""
        array = values.combine_chunks() if values.num_chunks else pa.array([], values.type)
        keys, texts, owners, order = [], [], [], []
        for rank, (rubric, at) in enumerate(asked):
            places = self._places(at)
            rows = np.flatnonzero(places >= 0)
            taken = array.take(pa.array(places[rows]))
            lengths = np.diff(taken.offsets.to_numpy())
            keys.append(pc.binary_join_element_wise(f"{rubric}.", taken.keys, ""))
            texts.append(taken.items)
            owners.append(np.repeat(rows, lengths))
            order.append(np.full(int(lengths.sum()), rank))
        owner = np.concatenate(owners)
        sorted_by_row = pa.array(np.lexsort((np.concatenate(order), owner)))
        offsets = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=self._bucket.rows.num_rows))))
        return pa.MapArray.from_arrays(
            pa.array(offsets, pa.int32()),
            pa.concat_arrays(keys).take(sorted_by_row),
            pa.concat_arrays(texts).take(sorted_by_row),
        )


def _with_settled(
    inputs: JoinInput, bucket: Bucket, decision: pa.Array, reasons: pa.Array
) -> tuple[pa.Array, pa.Array]:
    """Decision and reasons of the rows that were settled without the judge: unreadable, screened, duplicate."""
    rows = bucket.rows
    if len(bucket.judged) == rows.num_rows:
        return decision, reasons
    unreadable, screened = (rows[name].combine_chunks() for name in ("unreadable", "screened"))
    named = pc.if_else(pc.is_valid(screened), "screened", "duplicate")
    named = pc.if_else(pc.is_valid(unreadable), "unreadable", named)
    same = pc.binary_join_element_wise("same texts as ", _row_ids(inputs, rows.take(pa.array(bucket.first))), "")
    why = pc.coalesce(unreadable, screened, same)
    one_each = pa.ListArray.from_arrays(pa.array(np.arange(rows.num_rows + 1), pa.int32()), why)
    at = np.arange(rows.num_rows) + rows.num_rows
    at[bucket.judged] -= rows.num_rows
    take = pa.array(at)
    decided = pa.concat_arrays([decision, named]).take(take)
    return decided, pa.concat_arrays([reasons, one_each.cast(STRINGS)]).take(take)


def _row_ids(inputs: JoinInput, rows: pa.Table) -> pa.Array:
    """row_id (input/splits.py) of every row."""
    names = pa.array([piece.name for piece in inputs.scan.splits], pa.string()).take(rows["split"].combine_chunks())
    return pc.binary_join_element_wise(names, rows["position"].combine_chunks().cast(pa.string()), ":")


def _decided(gate: Gate, standing: Standing) -> dict[str, Any]:
    """The part of a verdict that all records of a pattern share."""
    reached, final, decision = standing.reached, standing.final, standing.decision
    card, repeat = reached.card, reached.repeat
    reasons = [reason.text for reason in decision.reasons if reason.kind != "unknown"]
    if final == "unscored":
        reasons += [_why_unscored(rubric, fact) for rubric, fact in card.failed().items()]
    elif final == "pending":
        reasons += [_why_pending(need) for need in reached.open]
    return {
        "decision": final,
        "action": card.action(final),
        "reasons": reasons,
        "total": decision.total,
        "asked": card.asked(),
        "skipped": [] if reached.open else card.not_asked(),
        "not_applicable": list(card.not_applicable),
        "repeat_decision": None if repeat is None else repeat.final(gate, complete=not reached.open_repeat)[0],
        "repeat_scores": None if repeat is None else list(repeat.scores().items()),
        "samples": max(card.samples.values(), default=1) if card.asked() else None,
        "spread": list(card.spread.items()) or None,
    }


def _why_pending(need: Need) -> str:
    return f"{need.rubric} was not asked yet" + (f" (sample {need.sample})" if need.sample != FIRST else "")


def _why_unscored(rubric: str, fact: Unscored) -> str:
    return f"{rubric} unscored: {fact.cause}" + (f" ({fact.detail})" if fact.detail else "")
