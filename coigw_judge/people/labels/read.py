"""What people said of records, read from what they hand in: CSV, JSONL, Parquet, or Label Studio's exports.

A label is one value that one annotator gave to one item of one record in one round. Label Studio's three exports are
told apart by what stands in a row: JSON has `annotations`, JSON-MIN and CSV have `annotation_id`. A control's name is
`rubric-key` there (control_name), a record is found by the `row_id` that export put into its task.
Texts that annotators wrote (a query, a thought) are read beside the labels. What cannot be read as either is counted
with its reason, never dropped unsaid; a row that is broken is refused, because labels are few and dear.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coigw_judge.errors import FixSource
from coigw_judge.input.listing import list_input_files
from coigw_judge.input.splits import read_split, split_file
from coigw_judge.records.record import Unreadable
from coigw_judge.storage.paths import is_uri

OVERALL = "overall"
VERDICTS = ("accept", "refine", "remove")
"""What people may decide. In this order, from best to worst."""
_WORDS = {
    "accept": "accept", "accepted": "accept", "采用": "accept", "接受": "accept", "通过": "accept",
    "refine": "refine", "修改": "refine", "退改": "refine",
    "remove": "remove", "剔除": "remove", "删除": "remove",
}  # fmt: skip
_TRUTH = {"true": 1.0, "yes": 1.0, "是": 1.0, "false": 0.0, "no": 0.0, "否": 0.0}
WRITTEN = {"written_query": "query", "written_thought": "thought"}
"""Controls of Label Studio in which annotators write, and the fields that they write."""
_ANNOTATORS = ("annotator", "annotators", "completed_by")


@dataclass(frozen=True, slots=True)
class Label:
    """One value by one person."""

    row: str | None
    """The record's row_id, where the file has one."""
    id: str | None
    """The record's id, where the file has one."""
    annotator: str
    item: str
    """`rubric.item`, or OVERALL."""
    value: float | str
    """A number, or one of VERDICTS; 1 or 0 for a yes/no item."""
    round: int = 1
    weight: float | None = None
    """How many rows the record stands for, where it was drawn in a sample."""
    blind: bool | None = None
    """Whether the annotator saw nothing of the judge's; None: not said."""
    sample: str | None = None
    """The name of the sample it was drawn in."""


@dataclass(frozen=True, slots=True)
class WrittenText:
    """A text that an annotator wrote for a record: its query or its thought."""

    row: str | None
    id: str | None
    annotator: str
    field: str
    text: str
    round: int = 1


@dataclass(frozen=True, slots=True)
class Labels:
    """All of a file. `left_out`: reason -> how many entries."""

    labels: tuple[Label, ...]
    texts: tuple[WrittenText, ...]
    left_out: Mapping[str, int]


def control_name(item: str) -> str:
    """The name of an item's control in Label Studio: keys hold no `-`, so it can be read back."""
    return item.replace(".", "-")


def read(path: str) -> Labels:
    """Read a file of labels. Raises FixSource where it is missing, broken, or holds no label."""
    found: list[Label] = []
    texts: list[WrittenText] = []
    left_out: Counter[str] = Counter()
    for where, row in _rows(path):
        for each in _entries(row, where, left_out):
            if isinstance(each, Label):
                found.append(each)
            else:
                texts.append(each)
    if not found and not texts:
        why = "; ".join(f"{reason} ({n:,})" for reason, n in left_out.items()) or "it has no rows"
        raise FixSource(f"{path}: holds no labels: {why}; CONTRACT's columns are row_id or id, annotator, item, value")
    latest = {(each.row, each.id, each.annotator, each.item, each.round): each for each in found}
    if len(latest) < len(found):
        left_out["given again later by the same annotator in the same round"] += len(found) - len(latest)
    return Labels(tuple(latest.values()), tuple(texts), dict(left_out))


def _rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file, each with the words that say where it stands."""
    if path.lower().endswith(".json"):
        yield from _json_rows(path)
        return
    (file, *_) = list_input_files([path], Path.cwd())
    for piece in split_file(file):
        for position, row in read_split(piece):
            if isinstance(row, Unreadable):
                raise FixSource(f"{path}: row at {position}: {row.reason}; mend the file")
            yield f"{path}: row at {position}", row


def _json_rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if is_uri(path):
        raise FixSource(f"{path}: a .json export is read from a local disk; copy it here, or use JSONL")
    try:
        whole = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise FixSource(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    except ValueError as error:
        raise FixSource(f"{path}: is not JSON ({error}); export it again") from error
    if not isinstance(whole, list) or not all(isinstance(row, dict) for row in whole):
        raise FixSource(f"{path}: is no list of objects, as Label Studio exports it; labels by the line go into .jsonl")
    yield from ((f"{path}: task {number + 1}", row) for number, row in enumerate(whole))


def _entries(row: dict[str, Any], where: str, left_out: Counter[str]) -> Iterator[Label | WrittenText]:
    if isinstance(row.get("annotations"), list):
        yield from _of_task(row, where, left_out)
    elif "item" in row:
        yield _plain(row, where)
    elif "annotation_id" in row:
        about = _about(row, where, "record_id", next((row[name] for name in _ANNOTATORS if name in row), None))
        yield from _of_controls(about, ((name, value) for name, value in row.items() if _is_control(name)), left_out)
    else:
        raise FixSource(
            f"{where}: has neither `item` (labels by the line) nor `annotations` or `annotation_id` (Label Studio); "
            "give row_id or id, annotator, item, value"
        )


@dataclass(frozen=True, slots=True)
class _About:
    """What all labels of a task by one annotator share."""

    row: str | None
    id: str | None
    annotator: str
    round: int
    weight: float | None
    blind: bool | None
    sample: str | None

    def label(self, item: str, value: float | str) -> Label:
        return Label(self.row, self.id, self.annotator, item, value, self.round, self.weight, self.blind, self.sample)


def _about(data: Mapping[str, Any], where: str, id_key: str, annotator: object) -> _About:
    row, id_ = _text(data.get("row_id")), _text(data.get(id_key))
    if row is None and id_ is None:
        raise FixSource(f"{where}: has neither row_id nor {id_key}, so it belongs to no record")
    if isinstance(annotator, dict):
        annotator = annotator.get("email") or annotator.get("id")
    number = _number(data.get("round"))
    if data.get("round") not in (None, "") and (number is None or number != int(number)):
        raise FixSource(f"{where}: round {data['round']!r} is no whole number")
    return _About(
        row=row,
        id=id_,
        annotator=_text(annotator) or "-",
        round=1 if number is None else int(number),
        weight=_weight(data.get("weight"), where),
        blind=_blind(data.get("blind"), where),
        sample=_text(data.get("sample")),
    )


def _is_control(name: str) -> bool:
    """Whether a column of JSON-MIN or CSV is a control of our configuration; the others are the task's data."""
    return "-" in name or name == OVERALL or name in WRITTEN


def _plain(row: dict[str, Any], where: str) -> Label:
    item, value = _text(row.get("item")), _value(row.get("value"))
    if item is None:
        raise FixSource(f"{where}: item is empty; give overall, a rubric, or rubric.key")
    if value is None:
        raise FixSource(f"{where}: value {row.get('value')!r} is neither a number nor accept, refine, remove")
    return _about(row, where, "id", row.get("annotator")).label(item, value)


def _of_task(task: dict[str, Any], where: str, left_out: Counter[str]) -> Iterator[Label | WrittenText]:
    """A task of Label Studio's JSON export."""
    data = task.get("data")
    if not isinstance(data, dict):
        raise FixSource(f"{where}: has annotations and no data; export it again as JSON")
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            left_out["skipped by the annotator"] += 1
            continue
        about = _about(data, where, "record_id", annotation.get("completed_by"))
        results = (each for each in annotation.get("result") or () if isinstance(each.get("value"), dict))
        yield from _of_controls(about, ((str(each.get("from_name")), each["value"]) for each in results), left_out)


def _of_controls(
    about: _About, given: Iterable[tuple[str, Any]], left_out: Counter[str]
) -> Iterator[Label | WrittenText]:
    """What the controls of one annotation hold, in any of Label Studio's exports."""
    for name, raw in given:
        held = _unwrapped(raw)
        if held is None or held == "":
            continue
        if name in WRITTEN:
            yield WrittenText(about.row, about.id, about.annotator, WRITTEN[name], str(held), about.round)
            continue
        value = _value(held)
        if value is None:
            left_out[f"{name}: neither a number nor a decision"] += 1
        else:
            yield about.label(name.replace("-", ".", 1), value)


def _unwrapped(raw: Any) -> Any:
    """The one value inside what Label Studio wraps it in: {"number": 7}, {"choices": ["accept"]}, lists of those."""
    if isinstance(raw, str) and raw[:1] in "[{":
        try:
            raw = json.loads(raw)
        except ValueError:
            return raw
    while isinstance(raw, (list, dict)):
        if isinstance(raw, list):
            raw = raw[0] if len(raw) == 1 else "\n".join(map(str, raw)) if raw else None
        else:
            raw = next((raw[kind] for kind in ("number", "rating", "choices", "text") if kind in raw), None)
    return raw


def _value(raw: Any) -> float | str | None:
    if isinstance(raw, str):
        word = raw.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        if word in _TRUTH:
            return _TRUTH[word]
    return _number(raw)


def _number(raw: Any) -> float | None:
    if raw is None or isinstance(raw, (list, dict, bytes)):
        return None
    try:
        number = float(raw)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _weight(raw: Any, where: str) -> float | None:
    if raw is None or raw == "":
        return None
    number = _number(raw)
    if number is None or number <= 0:
        raise FixSource(f"{where}: weight {raw!r} is no number above 0")
    return number


def _blind(raw: Any, where: str) -> bool | None:
    if raw is None or raw == "":
        return None
    truth = _TRUTH.get(str(raw).strip().lower(), _number(raw))
    if truth not in (0.0, 1.0):
        raise FixSource(f"{where}: blind {raw!r} is neither true nor false")
    return bool(truth)


def _text(raw: Any) -> str | None:
    if raw is None or (isinstance(raw, float) and not math.isfinite(raw)):
        return None
    text = str(int(raw)) if isinstance(raw, float) and raw == int(raw) else str(raw).strip()
    return text or None
