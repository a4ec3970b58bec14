"""What several commands share: exit codes (CONTRACT), options that override a job, and the job that they name."""

import argparse
import sys
from pathlib import Path

from coigw_judge import logs
from coigw_judge.job.job import LoadedJob, load_job

OK, DIFFERENT, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done and the counts add up; done and they do not; a mistake of the caller's; Ctrl-C or SIGTERM."""


def add_job_options(parser: argparse.ArgumentParser, *, fills: bool = False, selects: bool = False) -> None:
    """Add the options that override keys of a job, and those of a command that fills or selects."""
    parser.add_argument(
        "--input", action="append", metavar="PATH", help="instead of input.paths; repeatable (default: the job's)"
    )
    parser.add_argument("--out", metavar="DIR", help="where run folders go (default: the job's)")
    parser.add_argument("--store", metavar="DIR", help="where facts are kept (default: the job's)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N rows in listing order (default: all)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a dotted key of the job; repeatable"
    )
    parser.add_argument(
        "--log-json",
        metavar="FILE",
        help="append events to a local file as JSON lines; -: standard error (default: no)",
    )
    parser.add_argument(
        "--log-level",
        choices=logs.LEVELS,
        help=f"of these and of the judge's processes (default: {logs.LEVEL_VARIABLE}, else info)",
    )
    if fills:
        parser.add_argument("--retry-unscored", action="store_true", help="ask again what failed before (default: no)")
    if selects:
        parser.add_argument(
            "--format", choices=["parquet", "jsonl"], default="parquet", help="of kept/ and the like (default: parquet)"
        )


def load(options: argparse.Namespace) -> LoadedJob:
    """The job that the options name and override. Raises FixInput, before Ray is started."""
    from coigw_judge.run.stages import check_paths

    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a judge class of the user's own may lie here, as for `python -m`
    job = load_job(
        options.job, options.set, input_paths=options.input, out=options.out, store=options.store, limit=options.limit
    )
    check_paths(job)
    return job
