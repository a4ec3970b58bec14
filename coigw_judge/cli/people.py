"""The commands for people: calibrate and export. Parse, call, print."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from coigw_judge.cli.options import DIFFERENT, OK

if TYPE_CHECKING:
    from pydantic import BaseModel

    from coigw_judge.people.calibration.agreement import Bootstrap
    from coigw_judge.people.calibration.labelled_records import CalibrateOptions
    from coigw_judge.people.export.write import Exported


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands and their options."""
    _calibrate_command(commands)
    _export_command(commands)


def _calibrate_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "the judge against people: agreement, precision and recall, the gate for a wanted recall"
    parser = commands.add_parser("calibrate", help=text, description=text)
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--labels", metavar="FILE", help="CSV, JSONL, Parquet or Label Studio's JSON, JSON-MIN, CSV")
    parser.add_argument(
        "--golden",
        metavar="REFERENCE",
        help="golden records' scores, a run folder or a file of labels' layout; exit 1 where the judge has moved",
    )
    parser.add_argument(
        "--bound", type=float, default=0.5, metavar="POINTS", help="with --golden: how far it may move (default: 0.5)"
    )
    parser.add_argument(
        "--annotators", action="store_true", help="leaks by annotator: quoted answers, copied thoughts (default: no)"
    )
    parser.add_argument("--by", default="genre", metavar="COLUMN", help="groups: a column of verdicts (default: genre)")
    parser.add_argument(
        "--recall", type=_fraction, metavar="SHARE", help="also find the gate that reaches this recall, such as 0.95"
    )
    parser.add_argument(
        "--accept-at", type=float, metavar="NUMBER", help="an overall number of this much is an accept (default: none)"
    )
    parser.add_argument(
        "--round", type=int, metavar="N", help="labels of this round alone (default: each annotator's last)"
    )
    parser.add_argument(
        "--missing",
        choices=["excluded", "dropped"],
        default="excluded",
        help="records on which the gate has no decision: left out, or as if dropped (default: excluded)",
    )
    parser.add_argument(
        "--unweighted", action="store_true", help="leave out the weights of the sample (default: use them)"
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="for the intervals (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resamples (default: 0)")
    parser.add_argument("--json", action="store_true", help="as one JSON object (default: text)")
    parser.set_defaults(command=_calibrate)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share; give a number above 0 and at most 1")
    return value


def _calibrate(options: argparse.Namespace) -> int:
    from coigw_judge.errors import FixJob
    from coigw_judge.people.calibration import file, report
    from coigw_judge.people.calibration import text as calibrate_text
    from coigw_judge.people.calibration.agreement import Bootstrap
    from coigw_judge.people.labels import read
    from coigw_judge.people.quality import drift, leak_report
    from coigw_judge.people.quality import text as drift_and_leaks
    from coigw_judge.run_folder.folder import open_run

    if options.labels is None and options.golden is None and not options.annotators:
        raise FixJob("calibrate: give --labels FILE, --golden REFERENCE, --annotators, or several of them")
    run = open_run(options.run)
    how = Bootstrap(max(0, options.resamples), options.seed)
    labels = None if options.labels is None else read.read(options.labels)
    parts: dict[str, tuple[BaseModel, str]] = {}
    code = OK
    if labels is not None and not labels.labels and not options.annotators:
        raise FixJob(f"--labels {options.labels}: holds texts and no labels; --annotators looks at texts")
    if labels is not None and labels.labels:
        people = report.report(run, labels, _how_to_calibrate(options, how))
        parts["calibration"] = people, calibrate_text.as_text(people)
    if options.golden is not None:
        moved = drift.check(run, options.golden, options.bound, how)
        parts["drift"] = moved, drift_and_leaks.drift_text(moved)
        code = DIFFERENT if moved.alarm else OK
    if options.annotators:
        leaks = leak_report.report(run, labels.texts if labels is not None else ())
        parts["writers"] = leaks, drift_and_leaks.writers_text(leaks)
    written = [file.write(run, content, f"{name}.json") for name, (content, _) in parts.items()]
    _print(parts, as_json=options.json)  # after writing: the reader may end early, as `head` does
    for path in written:
        print(f"written to {path}", file=sys.stderr)
    print(f"report.html shows it once it is made anew: coigw-judge report {options.run}", file=sys.stderr)
    return code


def _print(parts: "dict[str, tuple[BaseModel, str]]", *, as_json: bool) -> None:
    from coigw_judge.people.calibration import file

    if not as_json:
        print("\n\n".join(text for _, text in parts.values()), flush=True)
        return
    print(file.as_json({name: content for name, (content, _) in parts.items()}), flush=True)


def _how_to_calibrate(options: argparse.Namespace, how: "Bootstrap") -> "CalibrateOptions":
    from coigw_judge.people.calibration.labelled_records import CalibrateOptions

    return CalibrateOptions(
        by=options.by,
        round=options.round,
        recall=options.recall,
        accept_at=options.accept_at,
        missing=options.missing,
        weighted=not options.unweighted,
        how=how,
    )


def _export_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "what annotators open next: Label Studio's tasks and configuration, or JSONL"
    parser = commands.add_parser("export", help=text, description=text)
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--to", choices=["label-studio", "jsonl"], default="label-studio", help="format (default: label-studio)"
    )
    parser.add_argument("--out", metavar="FILE", help="where to (default: RUN/export/ with a name of its own)")
    parser.add_argument(
        "--decision",
        metavar="LIST",
        help="rows of these decisions, such as kept,review (default: kept,review; kept with --accepted; with --sample "
        "all that can be read)",
    )
    parser.add_argument(
        "--per", metavar="COLUMN=N", help="the N rows with the highest sums of every value (default: all rows)"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="draw N rows and keep their weights (default: all)")
    parser.add_argument(
        "--stratify",
        default="decision,genre",
        metavar="COLUMNS",
        help="with --sample: evenly over these columns' values (default: decision,genre)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="with --sample (default: 0)")
    parser.add_argument("--blind", action="store_true", help="without scores, reasons, analyses (default: with them)")
    parser.add_argument(
        "--split", choices=["reviewers"], help="a file for 2 reviewers and one for 4 (default: one file)"
    )
    parser.add_argument(
        "--special",
        default="answer_analysis.knowledge=专门",
        metavar="COLUMN=VALUE",
        help="with --split: what says that special knowledge is needed (default: answer_analysis.knowledge=专门)",
    )
    parser.add_argument("--labels", metavar="FILE", help="with --accepted: what people said")
    parser.add_argument(
        "--accepted", action="store_true", help="the final corpus: rows that judge and people both accept, as JSONL"
    )
    parser.add_argument(
        "--accept-at", type=float, metavar="NUMBER", help="an overall number of this much is an accept (default: none)"
    )
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from coigw_judge.people.export import sample, write
    from coigw_judge.people.labels import join
    from coigw_judge.people.labels import read as labels
    from coigw_judge.run_folder.folder import open_run

    run = open_run(options.run)
    decisions = _decisions(options)
    if options.accepted:
        rows = sample.of_decisions(run, decisions)
        joined = join.join(run, labels.read(options.labels), ["decision"])
        out = _out(options, "accepted.jsonl")
        return _report_exported(write.write_accepted(run, rows, joined, out, options.accept_at))
    if options.sample is not None:
        by = [name for name in options.stratify.split(",") if name]
        rows = sample.sample(run, decisions, by, options.sample, options.seed)
        sample.write_sample(run, rows)
        for name, (there, drawn) in rows.strata.items():
            print(f"  {drawn:>6,} of {there:>9,}  {name}", file=sys.stderr)
    elif options.per is not None:
        column, most = _per(options.per)
        rows = sample.best_of(run, decisions, column, most)
    else:
        rows = sample.of_decisions(run, decisions)
    special = write.special_column(run, options.special) if options.split else None
    out = _out(options, "label-studio.json" if options.to == "label-studio" else "rows.jsonl")
    return _report_exported(write.write(run, rows, write.ExportOptions(options.to, out, options.blind, special)))


def _decisions(options: argparse.Namespace) -> list[str]:
    from coigw_judge.errors import FixJob, nearest
    from coigw_judge.people.export.sample import READABLE

    if options.sample is not None and (options.per is not None or options.accepted):
        raise FixJob("export: --sample draws from all rows; give it without --per and --accepted")
    if options.sample is not None and options.sample < 1:
        raise FixJob(f"--sample {options.sample}: give a number of at least 1")
    if options.labels is not None and not options.accepted:
        raise FixJob("export --labels: labels choose rows only with --accepted; add it, or leave them out")
    if options.accepted and options.labels is None:
        raise FixJob("export --accepted: give --labels FILE, what people said")
    if options.decision is None:
        return list(READABLE) if options.sample is not None else ["kept"] if options.accepted else ["kept", "review"]
    names: list[str] = [name.strip() for name in options.decision.split(",")]
    for name in names:
        if name not in READABLE:
            raise FixJob(f"--decision {name}: is none of {', '.join(READABLE)}{nearest(name, READABLE)}")
    return names


def _per(option: str) -> tuple[str, int]:
    from coigw_judge.errors import FixJob

    column, _, most = option.partition("=")
    if not column or not most.isdecimal() or int(most) < 1:
        raise FixJob(f"--per {option}: write COLUMN=N, such as genre=400")
    return column, int(most)


def _out(options: argparse.Namespace, name: str) -> str:
    from coigw_judge.storage.paths import resolve

    return resolve(options.out, Path.cwd()) if options.out else f"{options.run.rstrip('/')}/export/{name}"


def _report_exported(exported: "Exported") -> int:
    for path, rows in exported.files.items():
        print(f"{rows:,} rows in {path}")
    if exported.unsaid:
        print(f"{exported.unsaid:,} rows do not say whether they need special knowledge; 2 reviewers", file=sys.stderr)
    for reason, count in exported.left_out.items():
        if count:
            print(f"left out: {count:,} rows {reason}", file=sys.stderr)
    return OK
