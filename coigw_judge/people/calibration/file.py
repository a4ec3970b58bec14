"""What `calibrate` leaves in a run folder, for people and for report.html: calibration.json, drift.json, writers.json.

The models are the files: builders return them, readers take them. A key that another version wrote is passed over; a
file that this version cannot read is refused with the command that makes it anew.
"""

import json
from typing import TypeVar

import pyarrow.fs as fs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coigw_judge.errors import FixStore
from coigw_judge.people.calibration.agreement import Bootstrap, IntervalEstimate
from coigw_judge.people.calibration.cheapest_gate import Choice
from coigw_judge.people.quality.drift import Drift
from coigw_judge.run_folder.folder import Run
from coigw_judge.storage.paths import open_filesystem, write_atomic


class Group(BaseModel):
    """Judge and people on the records of one group."""

    compared: int
    """Records with a number of both."""
    judge_mean: IntervalEstimate
    people_mean: IntervalEstimate
    pearson: IntervalEstimate
    spearman: IntervalEstimate
    kendall: IntervalEstimate


class Within(BaseModel):
    """The mean of the groups' correlations, weighted by records: agreement that groups alone do not explain."""

    pearson: float | None = None
    spearman: float | None = None
    kendall: float | None = None
    groups: int = 0
    """Groups that have a correlation."""


class Ceiling(BaseModel):
    """Krippendorff's alpha between annotators, which no judge can be expected to exceed."""

    interval: IntervalEstimate | None = None
    """Of their numbers."""
    ordinal: IntervalEstimate | None = None
    """Of their decisions: accept > refine > remove."""


class Item(BaseModel):
    """Judge and people on one item. What has a default is left out of the file where nothing could be compared."""

    range: tuple[int | float, int | float] | None = None
    """Least and highest number of the scale; None for an item without one."""
    labelled: int
    """Records that people labelled."""
    compared: int
    """Of those, records with a number of both."""
    judge_missing: dict[str, int]
    """Labelled records without a number of the judge, by cause."""
    between_annotators: Ceiling
    pearson: IntervalEstimate | None = None
    spearman: IntervalEstimate | None = None
    kendall: IntervalEstimate | None = None
    kappa: IntervalEstimate | None = None
    """Quadratically weighted; None without a scale, or where a number lies outside it."""
    by: dict[str, Group] = {}
    """Largest group first."""
    points: list[tuple[float, float, float]] = []
    """Judge's number, people's, records (or their weight) with both."""
    within: Within = Within()
    auc: IntervalEstimate | None = None
    """Of the judge's number for people's accept."""


class Hits(BaseModel):
    """What passes a gate against what people accept."""

    records: int
    accepted: int
    """Of those, records that people accept."""
    precision: IntervalEstimate
    recall: IntervalEstimate
    f1: IntervalEstimate


class Accepts(BaseModel):
    """What people say of the records of one decision."""

    accepted: int
    not_accepted: int


class GateAgainstPeople(BaseModel):
    """The run's gate against people's accept."""

    decided_by_people: int
    """Records that people accepted or not."""
    ties_counted_as_not_accepted: int
    missing: str
    """What became of records that the gate did not decide (`CalibrateOptions.missing`)."""
    without_decision: dict[str, int]
    """Records that the gate did not decide, by what they are instead."""
    decisions: dict[str, Accepts]
    """By the run's decision."""
    outside_labelled: int
    """Labelled records that the gate does not send on; without any, recall cannot be known."""
    kept: Hits
    kept_or_review: Hits
    by: dict[str, Hits]
    """Kept alone, by group; largest group first."""


class Review(BaseModel):
    """How far below the gate a row still goes to people, as the job says it."""

    total: float
    each: float


class GatesForRecall(BaseModel):
    """Gates that send on a wanted share of what people accept."""

    labelled: int
    """Records that the choice rests on."""
    left_out_without_scores: int
    rows: int
    """Of the whole run."""
    review: Review
    now: int
    """Rows that the run's own gate sends on: kept and review."""
    wanted: float | None
    """A recall that was asked for beyond the usual ones."""
    choices: list[Choice]
    frontier: list[tuple[int, float]] = []
    """(Rows to look at, recall) of gates that no other beats in both; none in older files."""


class Annotator(BaseModel):
    """One annotator beside the others. A figure that nothing supports is None."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    annotator: str
    records: int
    """With any label of this annotator."""
    decided: int
    """With a decision of this annotator."""
    accepting: float | None = Field(validation_alias="yield", serialization_alias="yield")
    """Of the decisions, the share of accepts: the file's `yield`, a word that Python keeps for itself."""
    same_decision: float | None
    """Of the shared decisions, the share that is the same."""
    shared_decisions: int
    """Pairs of this annotator's decision and another's on the same record."""
    spearman_with_others: float | None
    """Of this annotator's numbers and the others' means."""
    shared_numbers: int
    """Numbers of this annotator where others gave one too."""
    higher_than_others: float | None
    """By how much on average, in points of the scale."""


class Blind(BaseModel):
    """Records by whether people saw the judge's scores first."""

    blind: int
    not_blind: int
    not_said: int


class Calibration(BaseModel):
    """The judge against people: calibration.json."""

    run: str
    """The run's folder."""
    meaningless: bool
    """Whether the judge is the untrained one."""
    records: int
    labels: int
    rounds: list[int]
    annotators: list[Annotator]
    left_out: dict[str, int]
    """Labels or records that no figure counts, by reason."""
    unknown_items: dict[str, str]
    """Items that the run does not score, with a hint at the nearest that it does."""
    blind: Blind
    weighted: bool
    """Whether records weigh by how the sample was drawn."""
    by: str
    """The column that figures are grouped by."""
    bootstrap: Bootstrap
    decisions: dict[str, int] = {}
    """Labelled records by the run's decision."""
    rubrics: str
    """A caveat about the run's rubrics; empty where there is none."""
    items: dict[str, Item]
    gate: GateAgainstPeople | None
    """None where people decided nothing."""
    regate: GatesForRecall | None
    """None where no labelled record has all scores."""


class Wrote(BaseModel):
    """Leaks in what one annotator wrote."""

    queries: int
    suspect: int
    """Queries that a person should look at."""
    share: float | None
    """Of a query's characters, those in phrases of its answer: the mean over queries, None without any."""
    copied: int
    """Thoughts that stand in an earlier record too."""


class Phrase(BaseModel):
    """A phrase of an answer that stands in its query."""

    row_id: str
    annotator: str
    phrase: str
    characters: int
    share: float | None = None
    """Of the query's characters, those in phrases of the answer."""


class Copy(BaseModel):
    """Two records with much the same thought."""

    rows: tuple[str, str]
    annotators: tuple[str, str]
    alike: float
    """Of the shorter thought's pieces, the share that the other has."""


class Writers(BaseModel):
    """Leaks by annotator: writers.json."""

    annotators: dict[str, Wrote]
    phrases: list[Phrase]
    """The longest."""
    copies: list[Copy]
    """The most alike."""
    copied_pairs: int
    """All, listed or not."""


def as_json(content: BaseModel | dict[str, BaseModel]) -> str:
    """A file's text, or several files' contents as one object. Estimates are objects of value, low, high, n."""
    return json.dumps(content, ensure_ascii=False, indent=2, default=_as_dict, allow_nan=False)


def _as_dict(content: BaseModel) -> dict[str, object]:
    return content.model_dump(mode="json", by_alias=True, exclude_unset=True)


def write(run: Run, content: BaseModel, name: str) -> str:
    """Leave a file in the run folder, for report.html; returns where."""
    path = f"{run.folder.rstrip('/')}/{name}"
    filesystem, inner = open_filesystem(path)
    write_atomic(filesystem, inner, as_json(content).encode())
    return path


def calibration(run: Run) -> Calibration | None:
    """What calibration.json says; None where there is none. Raises FixStore where it is not what calibrate writes."""
    return _read(run, "calibration.json", Calibration, "--labels FILE")


def drift(run: Run) -> Drift | None:
    """What drift.json says; None and errors as for `calibration`."""
    return _read(run, "drift.json", Drift, "--golden REFERENCE")


def writers(run: Run) -> Writers | None:
    """What writers.json says; None and errors as for `calibration`."""
    return _read(run, "writers.json", Writers, "--annotators")


Content = TypeVar("Content", bound=BaseModel)


def _read(run: Run, name: str, model: type[Content], option: str) -> Content | None:
    filesystem, inner = open_filesystem(f"{run.folder.rstrip('/')}/{name}")
    if filesystem.get_file_info(inner).type != fs.FileType.File:
        return None
    with filesystem.open_input_stream(inner) as stream:
        text = stream.read()
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise FixStore(
            f"{run.folder}/{name}: {key}: {first['msg']}; make it anew with "
            f"`coigw-judge calibrate {run.folder} {option}`, or delete it"
        ) from error
