"""Labels joined with a run: one LabelledRecord per labelled row, with what people said and what the judge said.

Several people, several rounds: of every annotator the last round counts; numbers become their mean; decisions become
the share that accepts, and more than half is a yes (a tie is a no). Weights come from the labels, or from the sample
that `export --sample` wrote into the run folder.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from coigw_judge.errors import FixSource, FixStore, nearest
from coigw_judge.people.labels.read import OVERALL, Label, Labels
from coigw_judge.run_folder import verdicts
from coigw_judge.run_folder.folder import Run

SAMPLES = "samples"
"""The folder of a run in which `export --sample` leaves the weights of its rows."""


@dataclass(slots=True)
class LabelledRecord:
    """A row of the run that people labelled."""

    row_id: str
    verdict: dict[str, Any]
    """Its row of the verdicts, as far as columns were read."""
    people: dict[str, dict[str, float | str]] = field(default_factory=lambda: defaultdict(dict))
    """Item -> annotator -> value, of each annotator's last round."""
    weight: float | None = None
    """How many rows of the run it stands for; None: not known."""
    blind: bool | None = None
    """Whether everyone labelled it without the judge's word; None: nobody says."""

    def number(self, item: str) -> float | None:
        """The mean of the numbers that people gave an item."""
        values = [value for value in self.people.get(item, {}).values() if not isinstance(value, str)]
        return sum(values) / len(values) if values else None

    def accepted(self, item: str = OVERALL, accept_at: float | None = None) -> tuple[bool, bool] | None:
        """Whether people accept, and whether they were tied; None where nobody decided.

        `accept_at`: a number of at least this much counts as accept.
        """
        votes = []
        for value in self.people.get(item, {}).values():
            if isinstance(value, str):
                votes.append(value == "accept")
            elif accept_at is not None:
                votes.append(value >= accept_at)
        if not votes:
            return None
        return sum(votes) * 2 > len(votes), sum(votes) * 2 == len(votes)


@dataclass(frozen=True, slots=True)
class Joined:
    """Labels laid beside the rows that they belong to."""

    records: tuple[LabelledRecord, ...]
    left_out: Mapping[str, int]
    """Labels that belong to no row of the run, or that a later one replaced, by reason."""
    annotators: tuple[str, ...]
    labels: int
    """How many labels were used."""
    rounds: tuple[int, ...]


def join(run: Run, labels: Labels, columns: Sequence[str], round_: int | None = None) -> Joined:
    """Find every label's row in a run. `round_`: only labels of that round (default: each annotator's last).

    Raises FixSource where no label belongs to a row of the run.
    """
    left_out: Counter[str] = Counter(labels.left_out)
    chosen = [each for each in labels.labels if round_ is None or each.round == round_]
    if len(chosen) < len(labels.labels):
        left_out[f"of another round than {round_}"] += len(labels.labels) - len(chosen)
    by_row, by_id = _verdicts(run, chosen, columns)
    records: dict[str, LabelledRecord] = {}
    last: dict[tuple[str, str, str], int] = {}
    used: list[Label] = []
    for label in sorted(chosen, key=lambda each: each.round):
        found = _row_of(label, by_row, by_id)
        if isinstance(found, str):
            left_out[found] += 1
            continue
        record = records.setdefault(found["row_id"], LabelledRecord(found["row_id"], found))
        key = (found["row_id"], label.annotator, label.item)
        left_out["of an earlier round"] += key in last
        last[key] = label.round
        _take(record, label)
        used.append(label)
    if not records:
        why = "; ".join(f"{reason} ({n:,})" for reason, n in left_out.items() if n)
        raise FixSource(f"no label belongs to a row of {run.folder}: {why}; give the labels of this run's records")
    _weigh(run, records, used)
    return Joined(
        records=tuple(records[name] for name in sorted(records)),
        left_out={reason: n for reason, n in left_out.items() if n},
        annotators=tuple(sorted({each.annotator for each in used})),
        labels=len(used),
        rounds=tuple(sorted({each.round for each in used})),
    )


def _verdicts(
    run: Run, labels: Iterable[Label], columns: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    row_ids = {each.row for each in labels if each.row is not None}
    ids = {each.id for each in labels if each.id is not None and each.row is None}
    wanted = list(dict.fromkeys(["row_id", "id", *columns]))
    by_row: dict[str, dict[str, Any]] = {}
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in verdicts.named(run, row_ids, ids, wanted):
        by_row[row["row_id"]] = row
        if row["id"] is not None:
            by_id[row["id"]].append(row)
    return by_row, by_id


def _row_of(
    label: Label, by_row: Mapping[str, dict[str, Any]], by_id: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any] | str:
    if label.row is not None:
        return by_row.get(label.row, "of a row_id that the run does not have")
    rows = by_id.get(label.id or "", [])
    judged = [row for row in rows if row.get("decision") not in ("duplicate", "unreadable")]
    if len(judged or rows) > 1:
        return "of an id that several rows of the run have"
    return (judged or rows)[0] if rows else "of an id that the run does not have"


def _take(record: LabelledRecord, label: Label) -> None:
    record.people[label.item][label.annotator] = label.value
    record.weight = label.weight if record.weight is None else record.weight
    if label.blind is not None:
        record.blind = label.blind if record.blind is None else record.blind and label.blind


def _weigh(run: Run, records: Mapping[str, LabelledRecord], labels: Iterable[Label]) -> None:
    """Weights that the labels do not carry: from the sample that they were drawn in."""
    names = {each.sample for each in labels if each.sample and each.weight is None}
    for name in sorted(names):
        for row_id, weight in sample_weights(run, name).items():
            record = records.get(row_id)
            if record is not None and record.weight is None:
                record.weight = weight


def sample_weights(run: Run, name: str) -> dict[str, float]:
    """row_id -> weight of a sample that was drawn from a run. Raises FixStore where the run has no such sample."""
    path = f"{SAMPLES}/{name}.parquet"
    inner = run.paths[0].rsplit("/verdicts/", 1)[0]
    if "/" in name or not run.filesystem.get_file_info(f"{inner}/{path}").is_file:
        raise FixStore(
            f"{run.folder}: the labels name sample {name}, and there is no {path}; give the run they were drawn from"
        )
    table = pq.read_table(f"{inner}/{path}", filesystem=run.filesystem, partitioning=None)
    return dict(zip(table["row_id"].to_pylist(), table["weight"].to_pylist(), strict=True))


def unknown_items(joined: Joined, items: Iterable[str]) -> dict[str, str]:
    """Items that people labelled and the run does not have, with the nearest that it has."""
    judged = {*items, OVERALL}
    given = {item for record in joined.records for item in record.people}
    return {item: nearest(item, judged).strip() for item in sorted(given - judged)}
