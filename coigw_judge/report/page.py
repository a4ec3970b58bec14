"""The page itself: a template, a style sheet and a script in one file.

Record text is hostile. The template engine escapes all of it; characters that turn the direction of writing, move the
cursor or are none (controls, format characters, lone surrogates) are shown by their number instead of being sent; each
text stands in an element of its own direction. The page's policy admits one script, by its hash, and no other source of
anything, so what slipped through could neither run nor load.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from coigw_judge.people.calibration import file
from coigw_judge.people.quality.text import NO_PROOF
from coigw_judge.report import axes, diversity, examples, figures, tally
from coigw_judge.report.people import against_people, golden, leaks
from coigw_judge.report.run_columns import Shape, shape_of
from coigw_judge.run_folder import manifest as manifests
from coigw_judge.run_folder.folder import Run, check_group, open_run
from coigw_judge.storage.paths import open_filesystem, write_atomic
from coigw_judge.text.units import clock
from coigw_judge.text.unseen import ACTING, NO_GLYPH, replaced

NAME = "report.html"
SHOWN_CHARS = 4_000
"""Characters of one field of an example; what is longer says so and names the command that shows all."""

_COLUMNS = {"genre": "genre", "category": "category", "source": "source", "region": "region", "published": "month"}
_KEPT = "\n\t\u200d"
"""Shown as they are though they are format characters or controls: a joiner makes one sign of several emoji."""


def build(folder: str, by: Sequence[str] = (), most_rows: Mapping[str, int] = examples.KINDS) -> str:
    """Write a run's report.html; returns its path. `by`: further columns of the verdicts to group by;
    `most_rows`: how many rows of each kind are shown.

    Raises FixStore where the folder is no run or a file of `calibrate` in it is broken, FixJob where its verdicts have
    no such column.
    """
    run = open_run(folder)
    people = _people(run)
    for name in by:
        check_group((run, run), name)
    shape = shape_of(run)
    columns = {name: title for name, title in _COLUMNS.items() if name in run.columns} | {n: n for n in by}
    counted = tally.count(run, shape, columns)
    shown = examples.choose(run, shape, run.manifest, most_rows)
    page = render(run, shape, counted, shown, people)
    filesystem, inner = open_filesystem(folder)
    write_atomic(filesystem, f"{inner}/{NAME}", page.encode())
    return f"{folder.rstrip('/')}/{NAME}"


def _people(run: Run) -> dict[str, Any]:
    """What `calibrate` left in the run folder, as the template has it; `people` is whether it left anything."""
    calibration = file.calibration(run)
    drift, writers = file.drift(run), file.writers(run)
    return {
        "people": any(part is not None for part in (calibration, drift, writers)),
        "calibration": None if calibration is None else against_people(calibration),
        "golden": None if drift is None else golden(drift),
        "leaks": None if writers is None else leaks(writers),
        "no_proof": NO_PROOF,
    }


def templates() -> Environment:
    """The page's templates, which escape whatever they are given, and their filters."""
    environment = Environment(
        loader=PackageLoader("coigw_judge.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "cut": cut, "n": _n, "pct": _percent, "clock": clock, "g": _g}
    return environment


def render(
    run: Run, shape: Shape, counted: tally.Tally, shown: list[examples.Example], people: Mapping[str, Any]
) -> str:
    """The page as text. `people`: what the section on judge and people is made of."""
    folder = files("coigw_judge.report") / "templates"
    by_column = {title: groups for title, groups in counted.groups.items() if groups.keys() - {tally.NONE}}
    script = (folder / "page.js").read_text(encoding="utf-8")
    page = templates().get_template("page.html")
    return page.render(
        manifest=run.manifest,
        manifest_text=manifests.as_text(run.manifest),
        meaningless=manifests.MEANINGLESS if run.manifest.judge.meaningless else "",
        shape=shape,
        tally=counted,
        groups=by_column,
        without=[title for title, groups in counted.groups.items() if groups and title not in by_column],
        examples=shown,
        figures=figures,
        plots=axes,
        diversity=diversity.tables(counted.diversity),
        fewest=diversity.FEWEST,
        **people,
        histograms=_histograms(shape, counted),
        total=figures.histogram("sum", counted.totals, shape.gate.total),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        shown_chars=SHOWN_CHARS,
        folder=run.folder,
        gate_lines=_gate_lines(run.manifest),
    )


def _histograms(shape: Shape, counted: tally.Tally) -> list[figures.Histogram]:
    found = (figures.histogram(name, counted.scores[name], shape.gate.floors.get(name)) for name in shape.dimensions)
    return [each for each in found if each is not None]


def _gate_lines(manifest: manifests.Manifest) -> list[figures.Bar]:
    """Which half of the gate decided, of the rows that it did not keep."""
    reasons = manifest.gate_reasons
    titles: dict[manifests.GateReason, str] = {
        "total": "the sum is too low",
        "total_only": "only the sum is too low",
        "each": "a score is too low",
        "each_only": "only single scores are too low",
        "require": "a required check failed",
        "not_applicable": "a rubric does not apply",
    }
    named = [(titles.get(kind, kind), reasons[kind]) for kind in (*titles, *reasons) if kind in reasons]
    missed = manifest.decisions.get("dropped", 0) + manifest.decisions.get("review", 0)
    return figures.bars(list(dict(named).items()), missed)


def visible(text: object) -> str:
    """A text without characters that would act instead of being read: those are shown as ⟦U+202E⟧."""
    return replaced(str(text), lambda char: f"⟦U+{ord(char):04X}⟧", ACTING | NO_GLYPH, kept=_KEPT)


def cut(text: str) -> str:
    """The part of a text that the page shows."""
    return text[:SHOWN_CHARS]


def _n(value: float) -> str:
    return f"{value:,.0f}"


def _g(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _percent(value: float) -> str:
    return f"{value:.1%}"
