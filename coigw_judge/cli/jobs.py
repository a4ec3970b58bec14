"""Commands that are given a job: run, scan, fill, select, plan, check; and `embedded`, a judge to try them with."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from coigw_judge import logs
from coigw_judge.cli.options import DIFFERENT, OK, add_job_options, load
from coigw_judge.job.job import LoadedJob
from coigw_judge.run import summary
from coigw_judge.run_folder.manifest import Manifest

if TYPE_CHECKING:
    from coigw_judge.run.state import Stage


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands and their options."""
    _job_command(
        commands, "run", run, "scan, fill, select; print a summary, write a run folder", fills=True, selects=True
    )
    _job_command(commands, "scan", _scan, "read the whole input without a judge; totals and duplicates")
    _job_command(commands, "fill", _fill, "ask the judge what is not in the store yet", fills=True)
    select = _job_command(
        commands, "select", _select, "decide from the store alone (re-gating); asks the judge nothing", selects=True
    )
    select.add_argument(
        "--sweep", metavar="GRID", help="only print what a grid of gates would keep, for instance total=44:56,each=6:9"
    )
    select.add_argument("--json", action="store_true", help="with --sweep: as JSON (default: a table)")
    _plan_command(commands)
    check = commands.add_parser("check", help="lint rubrics and prompts; with a job, its files, input and judge too")
    check.add_argument(
        "job", nargs="?", type=Path, metavar="JOB", help="a job file (default: only rubrics and prompts)"
    )
    add_job_options(check)
    check.set_defaults(command=_check)
    embedded = commands.add_parser("embedded", help="build the embedded judge (untrained, for trying things out)")
    embedded.add_argument("--dir", type=Path, default=None, help="where (default: a cache folder)")
    embedded.set_defaults(command=_embedded)


def _plan_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    plan = _job_command(commands, "plan", _plan, "dry run: what would be asked, and what it would take")
    plan.add_argument(
        "--prompts", type=int, default=0, metavar="N", help="print N requests as the judge would see them (default: 0)"
    )
    plan.add_argument(
        "--sample", type=int, default=2000, metavar="N", help="tokenise N records of all the input (default: 2000)"
    )
    plan.add_argument(
        "--rate",
        metavar="prefill=N,decode=N",
        help="tokens per second and replica (default: estimate.* of the job, else as earlier runs measured)",
    )
    plan.add_argument("--price-per-gpu-hour", type=float, metavar="P", help="also print what it costs (default: no)")
    plan.add_argument("--json", action="store_true", help="as one JSON object (default: text)")


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
    add_job_options(parser, fills=fills, selects=selects)
    parser.set_defaults(command=command)
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Scan, fill, select; the summary on standard output."""
    return report(*whole_run(load(options), options))


def whole_run(job: LoadedJob, options: argparse.Namespace) -> tuple[Manifest, str]:
    """Scan, fill, select; returns the manifest and the run folder."""
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages

    with cluster():
        return stages.select(_filled(job, options), options.format, filled=True)


def _filled(job: LoadedJob, options: argparse.Namespace) -> "Stage":
    """Scan and fill."""
    from coigw_judge.run import stages

    level = logs.level_name(options.log_level)
    stage = stages.begin(job, for_fill=True, retry_unscored=options.retry_unscored, log_level=level)
    _say(_scanned(stage))
    if stage.scan.rows_in:
        stages.fill(stage, _say)
    return stage


def _scan(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages

    with cluster():
        print(_scanned(stages.begin(load(options), for_fill=False)))
    return OK


def _scanned(stage: "Stage") -> str:
    from coigw_judge.run.manifest import screen_hits
    from coigw_judge.run.summary import screen_lines
    from coigw_judge.scan import input_checks

    scan = stage.scan
    if not scan.rows_in:
        return f"{stage.job.config.name}: the input holds no rows; there is nothing to judge"
    kinds = ", ".join(f"{n:,} with {kind.replace('+', ', ')}" for kind, n in sorted(scan.kinds.items()))
    screened = f", {scan.screened:,} screened" if scan.screened else ""
    settled = f"{scan.duplicates:,} duplicates, {scan.unreadable:,} unreadable{screened}"
    counts = f"scanned {scan.rows_in:,} rows: {kinds}; {settled}"
    return "\n".join([counts, *screen_lines(screen_hits(scan)), *input_checks.of_scan(scan)])


def _fill(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline.cluster import cluster

    job = load(options)
    with cluster():
        stage = _filled(job, options)
    print(f"{stage.tally.made:,} asks made; facts are in {job.store}")
    return OK


def _select(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline import passes
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages
    from coigw_judge.select import sweep

    job = load(options)
    grid = None if options.sweep is None else sweep.parse_grid(options.sweep)
    with cluster():
        stage = stages.begin(job, for_fill=False)
        _say(_scanned(stage))
        if grid is not None:
            yields = passes.sweep(stage.inputs(), grid)
            as_json = json.dumps([asdict(one) for one in yields])
            print(as_json if options.json else sweep.as_text(yields, stage.scan.rows_in))
            return OK
        manifest, folder = stages.select(stage, options.format, filled=False)
    return report(manifest, folder)


def report(manifest: Manifest, folder: str) -> int:
    """Print what a run did, write its page; returns its exit status."""
    from coigw_judge import report as page
    from coigw_judge.run.stages import too_many_unscored

    print(summary.summary(manifest, folder))
    if manifest.rows_in:
        print(f"report: {page.build(folder)}")
    trouble = too_many_unscored(manifest)
    if trouble:
        _say(f"coigw-judge: {trouble}")
        return DIFFERENT
    return OK


def _plan(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import dry_run

    options.set = [*options.set, *dry_run.overrides(options.rate, options.price_per_gpu_hour)]
    job = load(options)
    with cluster():
        print(dry_run.report(job, prompts=options.prompts, sample=max(1, options.sample), as_json=options.json))
    return OK


def _check(options: argparse.Namespace) -> int:
    from coigw_judge.run import check as checks

    lines = checks.check_files()
    if options.job is not None:
        lines += checks.check_job(load(options))
    print("\n".join(lines))
    return OK


def _embedded(options: argparse.Namespace) -> int:
    from coigw_judge.judges import embedded

    print(f"embedded judge: {embedded.build(options.dir)} (untrained: its scores are meaningless)")
    return OK
