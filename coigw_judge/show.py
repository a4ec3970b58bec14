"""`coigw-judge show`: one record of a run, for a person: texts, scores with reasons, the decision, raw replies.

Not known here: anything about the other records.
"""

import shutil
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq

from coigw_judge import manifest as manifests
from coigw_judge import source
from coigw_judge.errors import FixSource, FixStore
from coigw_judge.job import Job
from coigw_judge.paths import is_uri, list_files, open_filesystem
from coigw_judge.record import Record, Unreadable, record_digest, to_record
from coigw_judge.spans import around
from coigw_judge.store import Store

_RAW_COLUMNS = (
    "rubric",
    "rubric_fingerprint",
    "judge_fingerprint",
    "raw",
    "cause",
    "finish_reason",
    "attempt",
    "flags",
    "record",
)


def find(run: str, row: str) -> dict[str, Any]:
    """A row's verdict, texts and raw replies. Raises FixStore where the run has no such row."""
    manifest = manifests.read(run)
    verdict = _verdict(run, row)
    texts = _texts(manifest, verdict)
    replies = _replies(manifest, texts) if isinstance(texts, Record) else []
    return {
        "verdict": verdict,
        "texts": dict(texts.texts) if isinstance(texts, Record) else {},
        "missing": "" if isinstance(texts, Record) else texts,
        "replies": replies,
        "judge": manifest["judge"],
    }


def _verdict(run: str, row: str) -> dict[str, Any]:
    filesystem, inner = open_filesystem(run)
    paths = list_files(filesystem, f"{inner}/verdicts", ".parquet")
    for column in ("row_id", "id"):
        for path in paths:
            table = pq.read_table(path, filesystem=filesystem, filters=[(column, "=", row)], partitioning=None)
            if table.num_rows:
                found: dict[str, Any] = table.to_pylist()[0]
                found |= {name: dict(found[name] or []) for name in ("judge_reasons", "notes")}
                return found
    raise FixStore(f"{run}: has no row {row}; a row_id is a file of the input and a position, as verdicts/ lists them")


def _texts(manifest: dict[str, Any], verdict: dict[str, Any]) -> Record | str:
    """The record as the input has it now, or why it can not be had."""
    job = Job.model_validate(manifest["configuration"])
    patterns = _as_given(verdict["file"], job.input.paths) if is_uri(verdict["file"]) else [verdict["file"]]
    try:
        files = source.list_files(patterns, Path(manifest["job_file"]).parent, job.input.encoding)
        raw = source.read_one(verdict["file"], verdict["position"], files)
    except FixSource as error:
        return str(error)
    if raw is None:
        return "the input no longer has this row"
    if isinstance(raw, Unreadable):
        return raw.reason
    record = to_record(raw, job.input.columns)
    return record if isinstance(record, Record) else record.reason


def _as_given(file: str, patterns: list[str]) -> list[str]:
    """The URI of one file, with the parameters that the job gives for its bucket; nothing else is listed."""
    scheme, _, path = file.partition("://")
    near = f"{scheme}://{path.partition('/')[0]}"
    query = next((pattern.partition("?")[2] for pattern in patterns if pattern.startswith(near)), "")
    return [f"{scheme}://{quote(path)}{'?' + query if query else ''}"]


def _replies(manifest: dict[str, Any], record: Record) -> list[dict[str, Any]]:
    """What the judge said of these texts under the run's rubrics and judge, one entry per rubric."""
    pairs = [(rubric, manifest["judge"]["fingerprint"]) for rubric in manifest["rubrics"].values()]
    digests = record.digests()
    identity = record_digest(digests)
    table = Store(manifest["store"]).read(_RAW_COLUMNS, fingerprints=pairs, wanted=around(digests["answer"]))
    return [
        {name: row[name] for name in ("rubric", "raw", "cause", "finish_reason", "attempt", "flags")}
        for row in table.to_pylist()
        if row["record"] == identity
    ]


def as_text(found: dict[str, Any]) -> str:
    """For a terminal; lines are folded by the width that characters take there."""
    verdict, width = found["verdict"], min(100, shutil.get_terminal_size().columns)
    lines = [_one_line(f"{verdict['row_id']}  (id {verdict['id'] or '-'}, {verdict['genre'] or 'no genre'})")]
    lines.append(f"{verdict['decision'].upper()}" + (f", {verdict['action']}" if verdict["action"] else ""))
    lines += [f"  - {_one_line(reason)}" for reason in verdict["reasons"] or []]
    lines += [f"  flag: {flag}" for flag in verdict["flags"] or []]
    if found["judge"]["meaningless"]:
        lines.append(f"  ! {manifests.MEANINGLESS}")
    for name, text in found["texts"].items():
        lines += ["", f"== {name}", *fold(printable(text), width)]
    if found["missing"]:
        lines += ["", _one_line(found["missing"])]
    lines += ["", "== scores", *_score_lines(verdict, width)]
    for name, text in verdict["notes"].items():
        lines += [name, *("  " + line for line in fold(printable(text), width - 2))]
    for reply in found["replies"]:
        state = reply["cause"] or "scored"
        state = ", ".join((state, str(reply["finish_reason"]), *(reply["flags"] or ())))
        lines += ["", f"== raw reply: {reply['rubric']} ({state})"]
        lines += fold(printable(reply["raw"]), width)
    return "\n".join(lines)


def _score_lines(verdict: dict[str, Any], width: int) -> list[str]:
    lines = []
    for name, value in verdict.items():
        if "." not in name or value is None:
            continue
        shown = {True: "yes", False: "no"}.get(value) if isinstance(value, bool) else value
        lines.append(f"{name:<28} {shown:g}" if isinstance(shown, float) else f"{name:<28} {shown}")
        reason = verdict["judge_reasons"].get(name)
        if reason:
            lines += ["  " + line for line in fold(printable(reason), width - 2)]
    return lines


def printable(text: str) -> str:
    """A record's text without what would move the cursor, change colours or the direction of writing."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "\ufffd" for c in text)


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\ufffd")


def cells(text: str) -> int:
    """How many columns a terminal gives a text: wide characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fold(text: str, width: int) -> list[str]:
    """Cut lines so that none takes more than `width` columns."""
    lines = []
    for line in text.expandtabs(4).split("\n"):
        current, used = "", 0
        for char in line:
            size = cells(char)
            if used + size > width:
                lines.append(current)
                current, used = "", 0
            current, used = current + char, used + size
        lines.append(current)
    return lines
