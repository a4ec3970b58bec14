"""Small rubrics, plans and facts that the unit tests are made of. Nothing here is a test."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coigw_judge.decide.gate import Gate
from coigw_judge.decide.plan import Plan, Subject
from coigw_judge.hashing import digest
from coigw_judge.input.listing import list_input_files
from coigw_judge.input.splits import split_file
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.records.record import FIELDS
from coigw_judge.replies.outcome import Scored, Unscored
from coigw_judge.scan import copies
from coigw_judge.scan.rows import ROWS_PER_FILE, Scan, count_duplicates, file_groups, finish, gather, scan_splits
from coigw_judge.scan.screening import Names
from coigw_judge.screens.config import Screen
from coigw_judge.storage.hash_ranges import ALL
from coigw_judge.store.parts import Store

Row = dict[str, Any] | str
"""A row of JSONL, or a line as it is."""

ANCHORS = {10: "极好", 8: "好", 6: "平", 3: "差"}


def rubric(
    name: str = "r",
    reads: Iterable[str] = ("answer",),
    dimensions: Iterable[str] = (),
    checks: Iterable[str] = (),
    notes: Iterable[str] = (),
    anchors: Mapping[int, str] = ANCHORS,
    **more: Any,
) -> Rubric:
    """A rubric that gives what is named; one note where nothing is."""
    nothing = not (dimensions or checks or notes or more.get("choices"))
    raw: dict[str, Any] = {"name": name, "title": name, "reads": tuple(reads), "prompt": name}
    raw["dimensions"] = [{"key": k, "title": k, "criteria": {"看": "什么"}, "anchors": anchors} for k in dimensions]
    raw["checks"] = [{"key": key, "title": key, "question": "是否如此？"} for key in checks]
    raw["notes"] = [{"key": key, "title": key, "question": "怎样？"} for key in (notes or ("n",) * nothing)]
    return Rubric.model_validate({**raw, **more})


def genre_rubric(*options: str) -> Rubric:
    """The rubric whose choice stands in for a missing genre."""
    return rubric("genre", choices=[{"key": "genre", "title": "体裁", "question": "哪一种？", "options": options}])


def plan(*rubrics: Rubric, then: Iterable[Rubric] = (), gate: Gate | None = None, **more: Any) -> Plan:
    """A plan whose gate, where not given, is over all dimensions and checks and lets everything pass."""
    over = [f"{r.name}.{d.key}" for r in rubrics for d in r.dimensions]
    bound = Gate(over=tuple(over), tops=dict.fromkeys(over, 10)) if gate is None else gate
    prints = {r.name: f"ask of {r.name}" for r in (*rubrics, *then)}
    return Plan(rubrics=rubrics, then=tuple(then), gate=bound, fingerprints=prints, **more)


def subject(
    answer: str = "文", query: str | None = None, thought: str | None = None, genre: str | None = None
) -> Subject:
    """A record without its texts."""
    texts = zip(FIELDS, (answer, query, thought), strict=True)
    return Subject({field: digest([text.encode()]) for field, text in texts if text is not None}, genre)


def walk(
    plan: Plan, subject: Subject, answers: Mapping[str, Scored | Unscored], most: int = 50
) -> tuple[dict, list[str]]:
    """Ask what the plan says until it says nothing; returns the facts and the rubrics asked, in order."""
    facts: dict[bytes, Scored | Unscored] = {}
    asked: list[str] = []
    while needs := plan.next(subject, facts):
        assert len(asked) < most, "the plan never ends"
        assert not any(need.key in facts for need in needs), "asked again"
        facts |= {need.key: answers[need.rubric] for need in needs}
        asked += [need.rubric for need in needs]
    return facts, asked


def scan_rows(
    folder: Path,
    files: list[list[Row]],
    limit: int | None = None,
    columns: Any = None,
    screen: Screen | None = None,
    rows_per_file: int = ROWS_PER_FILE,
) -> tuple[Store, Scan]:
    """Scan files of rows, a text standing for a line as it is; every file is one split."""
    store = Store(str(folder / "store"))
    names = []
    for number, rows in enumerate(files):
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{number}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        names.append(f"{number}.jsonl")
    pieces = [piece for file in list_input_files(names, folder) for piece in split_file(file)]
    work = store.path("work")
    how = (columns or {}, limit, screen or Screen())
    counts = [scan_splits(store, work, n, [(n, piece)], *how) for n, piece in enumerate(pieces)]
    groups = file_groups([sum(count["rows"]) for count in counts], rows_per_file)
    found = None
    if how[2].links:
        copies.gather(store, work, 0, range(len(pieces)))
        copies.find(store, work, 0, 1, ALL)
        copies.resolve(store, work, how[2])
        found = Names(tuple(piece.name for piece in pieces), ())
    gathered = [gather(store, "d", number, work, group, how[2], found) for number, group in enumerate(groups)]
    duplicates = count_duplicates(store, "d", len(groups), ALL)
    return store, finish(store, "d", pieces, counts[::-1], gathered, duplicates)


def stable(text: str) -> bytes:
    """16 bytes that stand for a text, for tests that need digests of nothing in particular."""
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()
