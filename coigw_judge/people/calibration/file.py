"""What `calibrate` left in a run folder, read back for report.html: calibration.json, drift.json, writers.json.

The types say what is in these files, and are what the report reads; a file that a person edited, or another version
wrote, is refused with the command that makes it anew.
"""

from typing import NotRequired, TypeVar

import pyarrow.fs as fs
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from coigw_judge.errors import FixStore
from coigw_judge.people.calibration.agreement import IntervalEstimate
from coigw_judge.people.calibration.cheapest_gate import Choice
from coigw_judge.people.quality.drift import Drift
from coigw_judge.run_folder.folder import Run
from coigw_judge.storage.paths import open_filesystem

CALIBRATION, DRIFT, WRITERS = "calibration.json", "drift.json", "writers.json"


class Group(TypedDict):
    """Judge and people on the records of one group."""

    compared: int
    judge_mean: IntervalEstimate
    people_mean: IntervalEstimate
    pearson: IntervalEstimate
    spearman: IntervalEstimate
    kendall: IntervalEstimate


class Item(TypedDict):
    """Judge and people on one item. `points`: judge's number, people's, records (or weight) with both."""

    labelled: int
    compared: int
    range: NotRequired[tuple[float, float] | None]
    judge_missing: dict[str, int]
    between_annotators: dict[str, IntervalEstimate]
    pearson: NotRequired[IntervalEstimate]
    spearman: NotRequired[IntervalEstimate]
    kendall: NotRequired[IntervalEstimate]
    kappa: NotRequired[IntervalEstimate | None]
    auc: NotRequired[IntervalEstimate]
    by: NotRequired[dict[str, Group]]
    within: NotRequired[dict[str, float | None]]
    points: NotRequired[list[tuple[float, float, float]]]


class Hits(TypedDict):
    """A gate against people's accept."""

    records: int
    accepted: int
    precision: IntervalEstimate
    recall: IntervalEstimate
    f1: IntervalEstimate


class GateAgainstPeople(TypedDict):
    """The run's gate against people's accept."""

    decided_by_people: int
    ties_counted_as_not_accepted: int
    missing: str
    without_decision: dict[str, int]
    decisions: dict[str, dict[str, int]]
    outside_labelled: int
    kept: Hits
    kept_or_review: Hits
    by: dict[str, Hits]


class GatesForRecall(TypedDict):
    """Gates that send on a wanted share of what people accept."""

    labelled: int
    left_out_without_scores: int
    rows: int
    review: dict[str, float]
    now: int
    wanted: float | None
    choices: list[Choice]
    frontier: NotRequired[list[tuple[int, float]]]
    """(Rows to look at, recall) of gates that no other beats in both."""


Annotator = TypedDict(
    "Annotator",
    {
        "annotator": str,
        "records": int,
        "decided": int,
        "yield": float | None,
        "same_decision": float | None,
        "shared_decisions": int,
        "spearman_with_others": float | None,
        "shared_numbers": int,
        "higher_than_others": float | None,
    },
)
"""One annotator beside the others. (`yield` is a word of Python, so this is no class.)"""


class Calibration(TypedDict):
    """The judge against people: calibration.json."""

    run: str
    meaningless: bool
    records: int
    labels: int
    rounds: list[int]
    annotators: list[Annotator]
    left_out: dict[str, int]
    unknown_items: dict[str, str]
    blind: dict[str, int]
    weighted: bool
    by: str
    bootstrap: dict[str, int]
    rubrics: str
    items: dict[str, Item]
    gate: GateAgainstPeople | None
    regate: GatesForRecall | None


class Wrote(TypedDict):
    """Leaks in what one annotator wrote."""

    queries: int
    suspect: int
    share: float | None
    copied: int


class Phrase(TypedDict):
    """A phrase of an answer that stands in its query."""

    row_id: str
    annotator: str
    phrase: str
    characters: int


class Copy(TypedDict):
    """Two records with much the same thought."""

    rows: tuple[str, str]
    annotators: tuple[str, str]
    alike: float


class Writers(TypedDict):
    """Leaks by annotator: writers.json."""

    annotators: dict[str, Wrote]
    phrases: list[Phrase]
    copies: list[Copy]
    copied_pairs: int


Found = TypeVar("Found")


def calibration(run: Run) -> Calibration | None:
    """What calibration.json says; None where there is none. Raises FixStore where it is not what calibrate writes."""
    return _read(run, CALIBRATION, TypeAdapter(Calibration), "--labels FILE")


def drift(run: Run) -> Drift | None:
    """What drift.json says; None and errors as for `calibration`."""
    return _read(run, DRIFT, TypeAdapter(Drift), "--golden REFERENCE")


def writers(run: Run) -> Writers | None:
    """What writers.json says; None and errors as for `calibration`."""
    return _read(run, WRITERS, TypeAdapter(Writers), "--annotators")


def _read(run: Run, name: str, kind: TypeAdapter[Found], option: str) -> Found | None:
    filesystem, inner = open_filesystem(f"{run.folder.rstrip('/')}/{name}")
    if filesystem.get_file_info(inner).type != fs.FileType.File:
        return None
    with filesystem.open_input_stream(inner) as stream:
        text = stream.read()
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise FixStore(
            f"{run.folder}/{name}: {key}: {first['msg']}; make it anew with "
            f"`coigw-judge calibrate {run.folder} {option}`, or delete it"
        ) from error
