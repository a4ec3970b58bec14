"""The command line: parse, call, print. Exit codes as in CONTRACT: 0, 1, 2, 130.

Not known here: anything that another module could know.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from coigw_judge import manifest as manifests
from coigw_judge.errors import CoigwError, CountsDiffer
from coigw_judge.job import LoadedJob, load_job

OK, DIFFERENT, WRONG, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors a user can mend are one or two lines on standard error."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except CountsDiffer as error:
        print(f"coigw-judge: {error}", file=sys.stderr)
        return DIFFERENT
    except CoigwError as error:
        print(f"coigw-judge: {error}", file=sys.stderr)
        return WRONG
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        again = shlex.join(["coigw-judge", *(sys.argv[1:] if arguments is None else arguments)])
        print(f"\ncoigw-judge: interrupted; what was judged is in the store. To go on: {again}", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """All commands and options, with their defaults in --help."""
    parser = argparse.ArgumentParser(
        prog="coigw-judge",
        description="Have a large language model judge a crawl under rubrics, and keep what passes a gate.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _job_command(
        commands, "run", _run, "scan, fill, select; print a summary, write a run folder", fills=True, selects=True
    )
    _job_command(commands, "scan", _scan, "read the whole input without a judge; totals and duplicates")
    _job_command(commands, "fill", _fill, "ask the judge what is not in the store yet", fills=True)
    _job_command(
        commands, "select", _select, "decide from the store alone (re-gating); asks the judge nothing", selects=True
    )
    plan = _job_command(commands, "plan", _plan, "dry run: what would be asked, and what it would take")
    plan.add_argument(
        "--prompts", type=int, default=0, metavar="N", help="print N requests as the judge would see them (default: 0)"
    )
    show = commands.add_parser("show", help="one record: text, scores, reasons, the decision and why, raw replies")
    show.add_argument("run", metavar="RUN", help="a run folder")
    show.add_argument("row", metavar="ROW_ID", help="row_id of a verdict, or its id")
    show.add_argument("--json", action="store_true", help="as one JSON object (default: text)")
    show.set_defaults(command=_show)
    check = commands.add_parser("check", help="lint rubrics and prompts; with a job, its files, input and judge too")
    check.add_argument(
        "job", nargs="?", type=Path, metavar="JOB", help="a job file (default: only rubrics and prompts)"
    )
    _override_options(check)
    check.set_defaults(command=_check)
    embedded = commands.add_parser("embedded", help="build the embedded judge (untrained, for trying things out)")
    embedded.add_argument("--dir", type=Path, default=None, help="where (default: a cache folder)")
    embedded.set_defaults(command=_embedded)
    return parser


def _job_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Callable[[argparse.Namespace], int],
    text: str,
    *,
    fills: bool = False,
    selects: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("job", type=Path, metavar="JOB", help="a job file (YAML)")
    _override_options(parser)
    if fills:
        parser.add_argument("--retry-unscored", action="store_true", help="ask again what failed before (default: no)")
    if selects:
        parser.add_argument(
            "--format", choices=["parquet", "jsonl"], default="parquet", help="of kept/ and the like (default: parquet)"
        )
    parser.set_defaults(command=command)
    return parser


def _override_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", action="append", metavar="PATH", help="instead of input.paths; repeatable (default: the job's)"
    )
    parser.add_argument("--out", metavar="DIR", help="where run folders go (default: the job's)")
    parser.add_argument("--store", metavar="DIR", help="where facts are kept (default: the job's)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N rows in listing order (default: all)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a dotted key of the job; repeatable"
    )


def _load(options: argparse.Namespace) -> LoadedJob:
    from coigw_judge.runs import check_paths

    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a judge of one's own is found here, as `python -m` would find it
    job = load_job(
        options.job, options.set, input_paths=options.input, out=options.out, store=options.store, limit=options.limit
    )
    check_paths(job)
    return job


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> int:
    from coigw_judge import runs
    from coigw_judge.pipeline.cluster import cluster

    job = _load(options)
    with cluster():
        stage = runs.begin(job, for_fill=True, retry_unscored=options.retry_unscored)
        _say(_scanned(stage))
        if stage.scan.rows_in:
            runs.fill(stage, _say)
        manifest, folder = runs.select(stage, options.format, filled=True)
    return _report(manifest, folder)


def _scan(options: argparse.Namespace) -> int:
    from coigw_judge import runs
    from coigw_judge.pipeline.cluster import cluster

    with cluster():
        print(_scanned(runs.begin(_load(options), for_fill=False)))
    return OK


def _scanned(stage: "object") -> str:
    from coigw_judge import complaints
    from coigw_judge.runs import Stage

    assert isinstance(stage, Stage)
    scan = stage.scan
    if not scan.rows_in:
        return f"{stage.job.config.name}: the input holds no rows; there is nothing to judge"
    kinds = ", ".join(f"{n:,} with {kind.replace('+', ', ')}" for kind, n in sorted(scan.kinds.items()))
    said = f"scanned {scan.rows_in:,} rows: {kinds}; {scan.duplicates:,} duplicates, {scan.unreadable:,} unreadable"
    return "\n".join([said, *complaints.of_scan(stage.store, scan)])


def _fill(options: argparse.Namespace) -> int:
    from coigw_judge import runs
    from coigw_judge.pipeline.cluster import cluster

    job = _load(options)
    with cluster():
        stage = runs.begin(job, for_fill=True, retry_unscored=options.retry_unscored)
        _say(_scanned(stage))
        if stage.scan.rows_in:
            runs.fill(stage, _say)
    print(f"{int(stage.tally['asks.made']):,} asks made; facts are in {job.store}")
    return OK


def _select(options: argparse.Namespace) -> int:
    from coigw_judge import runs
    from coigw_judge.pipeline.cluster import cluster

    job = _load(options)
    with cluster():
        stage = runs.begin(job, for_fill=False)
        _say(_scanned(stage))
        manifest, folder = runs.select(stage, options.format, filled=False)
    return _report(manifest, folder)


def _report(manifest: dict[str, object], folder: str) -> int:
    from coigw_judge.runs import too_many_unscored

    print(manifests.summary(manifest, folder))
    trouble = too_many_unscored(manifest)
    if trouble:
        _say(f"coigw-judge: {trouble}")
        return DIFFERENT
    return OK


def _plan(options: argparse.Namespace) -> int:
    from coigw_judge import estimate
    from coigw_judge.pipeline.cluster import cluster

    job = _load(options)
    with cluster():
        print(estimate.report(job, prompts=options.prompts))
    return OK


def _show(options: argparse.Namespace) -> int:
    from coigw_judge import show

    found = show.find(options.run, options.row)
    print(json.dumps(found, ensure_ascii=False, indent=2, default=str) if options.json else show.as_text(found))
    return OK


def _check(options: argparse.Namespace) -> int:
    from coigw_judge import checks

    lines = checks.check_files()
    if options.job is not None:
        lines += checks.check_job(_load(options))
    print("\n".join(lines))
    return OK


def _embedded(options: argparse.Namespace) -> int:
    from coigw_judge.judges import embedded

    print(f"embedded judge: {embedded.build(options.dir)} (untrained: its scores are meaningless)")
    return OK


if __name__ == "__main__":
    sys.exit(main())
