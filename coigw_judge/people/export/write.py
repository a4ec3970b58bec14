"""`coigw-judge export`: rows of a run for people, with their texts from the input and the judge's words.

Rows are chosen from the verdicts (sample.py), then read from the input in its own order (pick.py) and written as they
come, some thousand at a time, so that a million rows are never held. A row whose texts are no longer those that were
judged is left out and counted: people would otherwise label something else.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as ds

from coigw_judge.errors import FixJob
from coigw_judge.input.listing import File, Row, list_input_files
from coigw_judge.input.pick import input_order, rows_at
from coigw_judge.people.export import label_studio
from coigw_judge.people.export.sample import Chosen
from coigw_judge.people.labels.join import Joined
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.records.record import Record, Unreadable, record_digest, to_record
from coigw_judge.run_folder import verdicts as verdict_rows
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.gate import gate_of
from coigw_judge.run_folder.manifest import configuration
from coigw_judge.storage.jsonl import json_line
from coigw_judge.storage.paths import is_uri, open_atomic, open_filesystem

To = Literal["label-studio", "jsonl"]
REVIEWERS = (2, 4)
"""People per standard record, and per record that needs special knowledge (paper, 2.3)."""
_AT_ONCE = 2_000
_LEFT_OUT = {
    "gone": "are no longer in the input",
    "changed": "have other texts in the input now than those that were judged",
    "unreadable": "cannot be read",
}


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to write, and where."""

    to: To
    """The form of what is written."""
    out: str
    """The file, or the folder for Label Studio."""
    blind: bool = False
    """Whether what the judge said is left out."""
    special: tuple[str, str] | None = None
    """A column and the value that tells records which need special knowledge; None: no split."""


@dataclass(slots=True)
class Exported:
    """What came of an export."""

    files: dict[str, int] = field(default_factory=dict)
    """Rows written, by file."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows that were not written, by reason."""
    fields: set[str] = field(default_factory=lambda: {"answer"})
    """The fields that any written row has."""
    unsaid: int = 0
    """Rows that do not say how many reviewers they need."""


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """A chosen row: its place among the chosen, its verdict, its raw row and record."""

    chosen: Mapping[str, Any]
    verdict: Mapping[str, Any]
    raw: Mapping[str, Any]
    record: Record


def write(run: Run, chosen: Chosen, options: ExportOptions) -> Exported:
    """Write the chosen rows. Raises FixRubric, FixSource or FixStore where a rubric, the input or a place fails."""
    rubrics: tuple[Rubric, ...] = verdict_rows.rubrics_of(run) if options.to == "label-studio" else ()
    best = sum(gate_of(run).tops.values())
    exported = Exported()

    def as_text(row: ChosenRow) -> bytes:
        exported.fields.update(row.record.texts)
        about = _about(row, chosen, options, run)
        if options.to == "label-studio":
            task = label_studio.task(row.record, row.verdict, rubrics, about, best=best, blind=options.blind)
            return json_line(task)
        return json_line(_plain_row(row, about, options.blind))

    rows = _chosen_rows(run, chosen, exported, _columns(run, options))
    _stream(rows, as_text, options, exported)
    if options.to == "label-studio":
        _write(f"{_stem(options.out)}.xml", label_studio.config(rubrics, exported.fields, blind=options.blind).encode())
    return exported


def write_accepted(run: Run, chosen: Chosen, joined: Joined, out: str, accept_at: float | None) -> Exported:
    """The final corpus: of the chosen rows those that people accept, with the input's own columns and nothing else."""
    votes = {record.row_id: record.accepted(accept_at=accept_at) for record in joined.records}
    accepted = {row_id for row_id, vote in votes.items() if vote is not None and vote[0]}
    exported = Exported()
    names = chosen.rows["row_id"].to_pylist()
    for name in names:
        vote = votes.get(name)
        exported.left_out["that people did not label"] += vote is None
        exported.left_out["that people do not accept"] += vote is not None and not vote[0]
    kept = chosen.rows.filter(pa.array([name in accepted for name in names], pa.bool_()))
    rows = _chosen_rows(run, Chosen(kept, {}), exported, ["row_id", "record", "file", "position"])
    _stream(rows, lambda row: json_line(dict(row.raw)), ExportOptions("jsonl", out), exported)
    return exported


def special_column(run: Run, option: str) -> tuple[str, str]:
    """`COLUMN=VALUE`, or a column of truths alone. Raises FixJob where the run has no such column."""
    column, _, value = option.partition("=")
    if column not in run.columns:
        raise FixJob(
            f"--split reviewers: the verdicts of {run.folder} have no {column}, which says whether a record needs "
            "special knowledge; name rubric answer_analysis in the job (rubrics, then), or give --special COLUMN=VALUE"
        )
    verdict_rows.check_column(run, column, "--special")
    return column, value or "true"


# Reading


def files_of(run: Run) -> tuple[list[File], Mapping[str, str]]:
    """The run's input as it is listed now, and how its columns are called."""
    job = configuration(run.manifest)
    patterns = [pattern if is_uri(pattern) else str(pattern) for pattern in job.input.paths]
    return list_input_files(patterns, Path(run.manifest.job_file).parent, job.input.encoding), job.input.columns


def _chosen_rows(run: Run, chosen: Chosen, exported: Exported, columns: Sequence[str]) -> Iterator[ChosenRow]:
    """The chosen rows with their texts, in input order."""
    files, own = files_of(run)
    places = list(zip(chosen.rows["file"].to_pylist(), chosen.rows["position"].to_pylist(), strict=True))
    order = input_order(places, files)
    raw = rows_at([places[n] for n in order], files)
    for start in range(0, len(order), _AT_ONCE):
        piece = order[start : start + _AT_ONCE]
        own_rows = chosen.rows.take(pa.array(piece)).to_pylist()
        verdicts = _verdicts(run, own_rows, columns)
        for row, (_, content) in zip(own_rows, raw, strict=False):
            verdict = verdicts[row["row_id"]]
            record = _record(content, own, verdict.get("record"))
            if isinstance(record, str):
                exported.left_out[f"that {_LEFT_OUT[record]}"] += 1
            elif isinstance(content, dict):
                yield ChosenRow(row, verdict, content, record)


def _record(content: Row | None, own: Mapping[str, str], judged: str | None) -> Record | str:
    if content is None:
        return "gone"
    record = content if isinstance(content, Unreadable) else to_record(content, own)
    if isinstance(record, Unreadable):
        return "unreadable"
    same = judged is None or record_digest(record.digests()).hex() == judged
    return record if same else "changed"


def _verdicts(run: Run, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    positions = [row["position"] for row in rows]
    where = ds.field("file").isin(pa.array(sorted({row["file"] for row in rows}), pa.string()))
    where = where & (ds.field("position") >= min(positions)) & (ds.field("position") <= max(positions))
    where = where & ds.field("row_id").isin(pa.array([row["row_id"] for row in rows], pa.string()))
    return {row["row_id"]: row for row in verdict_rows.rows(run, columns, where)}


def _columns(run: Run, options: ExportOptions) -> list[str]:
    skipped = {"file", "position", "chars", "suspected", "repeat_decision", "repeat_scores", "samples", "spread"}
    return [name for name in run.columns if name not in skipped]


# Writing


def _about(row: ChosenRow, chosen: Chosen, options: ExportOptions, run: Run) -> dict[str, Any]:
    """What a row carries beside its texts. A blind row's weight stands in the sample alone: it tells the decision."""
    about: dict[str, Any] = {}
    if chosen.sample is not None:
        about["sample"] = chosen.sample
        if not options.blind:
            about["weight"] = row.chosen["weight"]
    if options.special is not None:
        about["reviewers"] = _reviewers(row.verdict, options.special)
    if not options.blind:
        about["judge_model"] = run.manifest.judge.model
    return about


def _reviewers(verdict: Mapping[str, Any], special: tuple[str, str]) -> int:
    value = verdict[special[0]]
    shown = str(value).lower() if isinstance(value, bool) else value
    return REVIEWERS[shown == special[1]]


def _plain_row(row: ChosenRow, about: Mapping[str, Any], blind: bool) -> dict[str, Any]:
    """The input's own columns, and ours beside them; ours step aside where the input has one of that name."""
    ours: dict[str, Any] = {"row_id": row.verdict["row_id"], "blind": blind, **about}
    if not blind:
        ours["judge"] = dict(row.verdict)
    return {**row.raw, **{name if name not in row.raw else f"verdict_{name}": ours[name] for name in ours}}


def _stream(
    rows: Iterable[ChosenRow], as_text: Callable[[ChosenRow], bytes], options: ExportOptions, exported: Exported
) -> None:
    """Write every row to its file; one file, or one per number of reviewers."""
    many = [] if options.special is None else list(REVIEWERS)
    paths = {count: f"{_stem(options.out)}-{count}{_suffix(options.out)}" for count in many} or {0: options.out}
    array = options.to == "label-studio"
    with ExitStack() as stack:
        files = {}
        for count, path in paths.items():
            filesystem, inner = open_filesystem(path)
            files[count] = stack.enter_context(open_atomic(filesystem, inner))
            exported.files[path] = 0
        for row in rows:
            count = 0 if options.special is None else _reviewers(row.verdict, options.special)
            exported.unsaid += options.special is not None and row.verdict[options.special[0]] is None
            before = (b"[\n" if not exported.files[paths[count]] else b",\n") if array else b""
            files[count].write(before + (as_text(row).rstrip(b"\n") if array else as_text(row)))
            exported.files[paths[count]] += 1
        for count, path in paths.items():
            if array:
                files[count].write(b"\n]\n" if exported.files[path] else b"[]\n")


def _stem(path: str) -> str:
    return path.removesuffix(_suffix(path))


def _suffix(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return name[name.rindex(".") :] if "." in name[1:] else ""


def _write(path: str, data: bytes) -> None:
    filesystem, inner = open_filesystem(path)
    with open_atomic(filesystem, inner) as file:
        file.write(data)
