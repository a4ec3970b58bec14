"""What the scripts of jobs/ do: `run` with the job file of a script's own name; and a rescoring, which ends with the
diff against an earlier run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from coigw_judge.cli import jobs
from coigw_judge.cli.main import obey
from coigw_judge.cli.options import add_job_options, load
from coigw_judge.storage.paths import resolve

_IDS_SHOWN = 10


def run(script: str, arguments: Sequence[str] | None = None) -> int:
    """`coigw-judge run` with the job file beside `script`; returns the exit status."""
    parser = _parser(script, "scan, fill, select; print a summary, write a run folder")
    parser.set_defaults(job=Path(script).with_suffix(".yaml"), command=jobs.run)
    return _obey(parser, script, arguments)


def rescore(script: str, arguments: Sequence[str] | None = None) -> int:
    """`coigw-judge run` with a changed job, then the diff against an earlier run; returns the exit status."""
    parser = _parser(script, "run a changed job over what an earlier run judged, and print what changed since")
    beside = Path(script).with_suffix(".yaml")
    parser.add_argument("--job", type=Path, default=beside, help=f"the job file (default: {beside.name} beside this)")
    parser.add_argument(
        "--against",
        metavar="RUN",
        help="the earlier run folder (default: the newest complete one in --out that was given the same input paths)",
    )
    parser.set_defaults(command=_rescore)
    return _obey(parser, script, arguments)


def _parser(script: str, text: str) -> argparse.ArgumentParser:
    name = Path(script)
    parser = argparse.ArgumentParser(prog=f"python jobs/{name.name}", description=f"{name.stem}: {text}.")
    add_job_options(parser, fills=True, selects=True)
    return parser


def _obey(parser: argparse.ArgumentParser, script: str, arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    return obey(parser.parse_args(given), again=["python", script, *given])


def _rescore(options: argparse.Namespace) -> int:
    from coigw_judge.diff import compare
    from coigw_judge.diff import text as diff_text
    from coigw_judge.run import earlier_run
    from coigw_judge.run_folder.folder import open_run

    job = load(options)
    against = None if options.against is None else resolve(options.against, Path.cwd())
    before = against or earlier_run.run_over_same_input(job)
    open_run(before)  # a run that cannot be compared is refused before anything is asked
    manifest, folder = jobs.whole_run(job, options)
    status = jobs.report(manifest, folder)
    if manifest.rows_in:
        print(f"\n{diff_text.as_text(compare.compare((before, folder), ids=_IDS_SHOWN), _IDS_SHOWN)}")
    return status
