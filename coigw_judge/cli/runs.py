"""Commands that are given a run folder: show, report, diff."""

import argparse
import json
from pathlib import Path

from coigw_judge.cli.options import OK


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands and their options."""
    show = commands.add_parser("show", help="one record: text, scores, reasons, the decision and why, raw replies")
    show.add_argument("run", metavar="RUN", help="a run folder")
    show.add_argument("row", metavar="ROW_ID", help="row_id of a verdict, or its id")
    show.add_argument("--json", action="store_true", help="as one JSON object (default: text)")
    show.set_defaults(command=_show)
    report = commands.add_parser("report", help="one self-contained HTML page on a run, into its folder")
    report.add_argument("run", metavar="RUN", help="a run folder")
    report.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="group by this column too; repeatable",
    )
    report.set_defaults(command=_page)
    _diff_command(commands)


def _diff_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "what changed between two runs: flips, score shifts, yield, beside what re-asking alone flips"
    diff = commands.add_parser("diff", help=text, description=text)
    diff.add_argument("run_a", metavar="RUN_A", help="a run folder")
    diff.add_argument("run_b", metavar="RUN_B", help="another, over the same records")
    diff.add_argument("--json", action="store_true", help="as one JSON object (default: text)")
    diff.add_argument(
        "--by", default="genre", metavar="COLUMN", help="give the yield by this column of the verdicts (default: genre)"
    )
    diff.add_argument(
        "--ids", type=int, default=10, metavar="N", help="print N ids per kind of flip, as text (default: 10)"
    )
    diff.add_argument(
        "--ids-to", type=Path, metavar="FILE", help="write every flip to this file, as JSONL (default: nowhere)"
    )
    diff.set_defaults(command=_diff)


def _show(options: argparse.Namespace) -> int:
    from coigw_judge.cli import show

    record = show.find(options.run, options.row)
    print(json.dumps(record, ensure_ascii=False, indent=2, default=str) if options.json else show.as_text(record))
    return OK


def _page(options: argparse.Namespace) -> int:
    from coigw_judge import report

    print(report.build(options.run, options.by))
    return OK


def _diff(options: argparse.Namespace) -> int:
    from coigw_judge.diff import compare as diff
    from coigw_judge.diff import text as diff_text

    ids = diff.IDS_BOUND if options.json else max(0, options.ids)
    report = diff.compare((options.run_a, options.run_b), by=options.by, ids=ids, ids_to=options.ids_to)
    print(diff_text.as_json(report) if options.json else diff_text.as_text(report, ids))
    return OK
