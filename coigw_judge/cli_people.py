"""The commands for people: calibrate and export. Parse, call, print.

Not known here: anything that another module could know.
"""

import argparse
import sys

OK, DIFFERENT = 0, 1


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands and their options."""
    _calibrate_command(commands)


def _calibrate_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "the judge against people: agreement, precision and recall, the gate for a wanted recall"
    parser = commands.add_parser("calibrate", help=text, description=text)
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--labels", metavar="FILE", help="CSV, JSONL, Parquet or Label Studio's JSON, JSON-MIN, CSV")
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
    from coigw_judge import calibrate, calibrate_text, diff_rows, labels
    from coigw_judge.agreement import Bootstrap
    from coigw_judge.errors import FixJob

    if options.labels is None:
        raise FixJob("calibrate: give --labels FILE")
    run = diff_rows.open_run(options.run)
    found = calibrate.report(
        run,
        labels.read(options.labels),
        calibrate.Options(
            by=options.by,
            round=options.round,
            recall=options.recall,
            accept_at=options.accept_at,
            missing=options.missing,
            weighted=not options.unweighted,
            how=Bootstrap(max(0, options.resamples), options.seed),
        ),
    )
    print(calibrate.as_json(found) if options.json else calibrate_text.as_text(found))
    print(f"written to {calibrate.write(run, found)}", file=sys.stderr)
    return OK
