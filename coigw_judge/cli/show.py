"""`coigw-judge show`: one record of a run, for a person: texts, scores with reasons, the decision, raw replies."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow.dataset as ds

from coigw_judge.errors import FixStore
from coigw_judge.records.record import Record, record_digest
from coigw_judge.run_folder import explain, verdicts
from coigw_judge.run_folder import manifest as manifests
from coigw_judge.run_folder import rows as input_rows
from coigw_judge.run_folder.folder import Run, open_run
from coigw_judge.run_folder.gate import gate_of
from coigw_judge.storage.hash_ranges import around
from coigw_judge.store.parts import Store
from coigw_judge.text.terminal import columns, fold, one_line, printable, sentence

_RAW_COLUMNS = (
    "rubric",
    "rubric_fingerprint",
    "judge_fingerprint",
    "raw",
    "cause",
    "finish_reason",
    "attempt",
    "flags",
    "sample",
    "record",
)
_WIDEST = 100
_SETTLED = {
    "screened": "A screen settled this row before the judge was asked.",
    "duplicate": "Another row with the same texts stands for this one; the judge was not asked.",
    "unreadable": "This row is no record; the judge was not asked.",
    "pending": "The gate cannot decide yet: a score that it needs was not asked. `fill`, then `select`.",
    "unscored": "The gate cannot decide: the judge gave no score. This says nothing about the text.",
}


def find(run: str, row: str) -> dict[str, Any]:
    """A row's verdict, the hits of screens, thresholds, texts and raw replies, as plain values.

    Raises FixStore where the run has no such row.
    """
    opened = open_run(run)
    verdict = _verdict(opened, row)
    place = (verdict["file"], verdict["position"])
    texts = input_rows.records(opened.manifest, [place])[place]
    replies = _replies(opened.manifest, texts) if isinstance(texts, Record) else []
    rubrics, _ = verdicts.known_rubrics(opened)
    return {
        "verdict": verdict,
        "screens": [asdict(hit) for hit in explain.screen_hits(opened, verdict)],
        "gate": [asdict(one) for one in explain.thresholds(gate_of(opened), verdict)],
        "texts": dict(texts.texts) if isinstance(texts, Record) else {},
        "missing": "" if isinstance(texts, Record) else texts,
        "changed": isinstance(texts, Record) and _changed(texts, verdict),
        "titles": {f"{rubric.name}.{item.key}": item.title for rubric in rubrics for item in rubric.items},
        "replies": replies,
        "judge": asdict(opened.manifest.judge),
    }


def _verdict(run: Run, row: str) -> dict[str, Any]:
    for column in ("row_id", "id"):
        matches = verdicts.rows(run, list(run.columns), ds.field(column) == row) if column in run.columns else []
        if matches:
            return matches[0]
    raise FixStore(
        f"{run.folder}: has no row {row}; a row_id is a file of the input and a position, as verdicts/ lists them"
    )


def _changed(record: Record, verdict: Mapping[str, Any]) -> bool:
    judged = verdict.get("record")
    return judged is not None and record_digest(record.digests()).hex() != judged


def _replies(manifest: manifests.Manifest, record: Record) -> list[dict[str, Any]]:
    """What the judge said of these texts under the run's rubrics and judge, one entry per rubric."""
    pairs = [(rubric, manifest.judge.fingerprint) for rubric in manifest.rubrics.values()]
    digests = record.digests()
    identity = record_digest(digests)
    table = Store(manifest.store).read(_RAW_COLUMNS, fingerprints=pairs, wanted=around(digests["answer"]))
    return [
        {name: row[name] for name in ("rubric", "sample", "raw", "cause", "finish_reason", "attempt", "flags")}
        for row in sorted(table.to_pylist(), key=lambda row: row["sample"])
        if row["record"] == identity
    ]


# As text


def as_text(record: Mapping[str, Any], width: int | None = None) -> str:
    """What `find` gives, for a terminal. `width` is in columns (default: the terminal's); Chinese takes two each."""
    width = max(30, min(_WIDEST, width or shutil.get_terminal_size().columns))
    parts = [_head(record, width), _screen_lines(record, width), _gate_lines(record)]
    for name, text in record["texts"].items():
        parts.append([f"== {name} ({len(text):,} characters)", *fold(printable(text), width)])
    if record["missing"]:
        parts.append(sentence(one_line(record["missing"]), width, ""))
    parts += [["== scores", *_score_lines(record, width)], *_notes(record, width), *_raw(record, width)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(record: Mapping[str, Any], width: int) -> list[str]:
    verdict = record["verdict"]
    lines = [one_line(f"{verdict['row_id']}  (id {verdict['id'] or '-'}, {verdict['genre'] or 'no genre'})")]
    lines.append(f"{verdict['decision'].upper()}" + (f", {verdict['action']}" if verdict["action"] else ""))
    if verdict["decision"] in _SETTLED:
        lines += sentence(_SETTLED[verdict["decision"]], width)
    lines += [f"  - {one_line(reason)}" for reason in verdict["reasons"] or []]
    lines += [f"  flag: {one_line(flag)}" for flag in verdict["flags"] or []]
    if record["changed"]:
        lines += sentence("! the input has other texts at this place now than those that were judged", width)
    if record["judge"]["meaningless"]:
        lines += sentence(f"! {manifests.MEANINGLESS}", width)
    return lines


def _screen_lines(record: Mapping[str, Any], width: int) -> list[str]:
    lines = []
    for hit in record["screens"]:
        lines += sentence(one_line(f"{hit['screen']} ({hit['action']}): {hit['text']}"), width)
    return ["== screens", *lines] if lines else []


def _gate_lines(record: Mapping[str, Any]) -> list[str]:
    if not record["gate"]:
        return []
    rows = []
    for test in record["gate"]:
        least = {True: "must be yes", None: ""}.get(test["least"], "at least " + _shown(test["least"]))
        met = test["met"] + (f" ({test['why']})" if test["why"] else "")
        title = record["titles"].get(test["item"], "")
        rows.append([test["item"], title, _shown(test["value"]), least, "" if met == "no threshold" else met])
    rows = [[*row[:2], " " * (4 - len(row[2])) + row[2], *row[3:]] for row in rows]
    return ["== gate", *columns(rows, left=5, most=60)]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else one_line(str(value))


def _score_lines(record: Mapping[str, Any], width: int) -> list[str]:
    verdict, lines = record["verdict"], []
    for name, value in verdict.items():
        if "." not in name or value is None:
            continue
        title = record["titles"].get(name, "")
        expected = (verdict.get("expected") or {}).get(name)
        shown = _shown(value) + (f" (expected {expected:.2f})" if expected is not None else "") + _apart(verdict, name)
        lines.append(f"{name} {title}: {shown}" if title else f"{name}: {shown}")
        reason = verdict["judge_reasons"].get(name)
        if reason:
            lines += ["  " + line for line in fold(printable(reason), width - 2)]
    for kind, word in (("asked", "asked"), ("skipped", "not asked"), ("not_applicable", "does not apply")):
        if verdict[kind]:
            lines += sentence(f"{word}: {one_line(', '.join(verdict[kind]))}", width, "")
    return lines or ["none"]


def _apart(verdict: Mapping[str, Any], name: str) -> str:
    """How far several samples lie apart; nothing where there is one."""
    spread = (verdict.get("spread") or {}).get(name)
    return "" if spread is None else f" (of up to {verdict['samples']} samples, {spread:g} apart)"


def _notes(record: Mapping[str, Any], width: int) -> list[list[str]]:
    notes = record["verdict"]["notes"]
    return [
        [one_line(f"== {name} {record['titles'].get(name, '')}").rstrip(), *fold(printable(text), width)]
        for name, text in notes.items()
    ]


def _raw(record: Mapping[str, Any], width: int) -> list[list[str]]:
    parts = []
    for reply in record["replies"]:
        state = ", ".join((reply["cause"] or "scored", str(reply["finish_reason"]), *(reply["flags"] or ())))
        which = f" sample {reply['sample']}" if reply["sample"] else ""
        title = f"== raw reply: {reply['rubric']}{which} ({one_line(state)})"
        parts.append([title, *fold(printable(reply["raw"]), width)])
    return parts
