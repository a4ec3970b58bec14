"""The command line: parse, call, print. Exit codes as in CONTRACT: 0, 1, 2, 130.

job_scripts.py uses the parts without an underscore for the scripts of jobs/.
Not known here: anything that another module could know.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from coigw_judge import logs
from coigw_judge.cli import people as cli_people
from coigw_judge.errors import CoigwError, CountsDiffer, FixStore
from coigw_judge.job.job import LoadedJob, load_job
from coigw_judge.run import summary as manifests
from coigw_judge.run_folder.manifest import Manifest
from coigw_judge.storage.paths import check_reach, resolve

if TYPE_CHECKING:
    from coigw_judge.store.parts import Store

OK, DIFFERENT, WRONG, INTERRUPTED = 0, 1, 2, 130
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for the driver of a submitted job."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return obey(build_parser().parse_args(given), again=["coigw-judge", *given])


def obey(options: argparse.Namespace, again: Sequence[str]) -> int:
    """Run the command that was parsed; returns the exit status. Errors a user can mend are one or two lines on standard
    error. `again` is the command that goes on where this one is interrupted."""
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        with logs.written(getattr(options, "log_json", None), logs.level_name(getattr(options, "log_level", None))):
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
        go_on = "submit the same job again" if SUBMITTED in os.environ else shlex.join(again)
        print(f"\ncoigw-judge: interrupted; what was judged is in the store. To go on: {go_on}", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """All commands and options, with their defaults in --help."""
    parser = argparse.ArgumentParser(
        prog="coigw-judge",
        description="Have a large language model judge a crawl under rubrics, and keep what passes a gate.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
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
    cli_people.add_commands(commands)
    check = commands.add_parser("check", help="lint rubrics and prompts; with a job, its files, input and judge too")
    check.add_argument(
        "job", nargs="?", type=Path, metavar="JOB", help="a job file (default: only rubrics and prompts)"
    )
    add_job_options(check)
    check.set_defaults(command=_check)
    _store_commands(commands.add_parser("store", help="look after the facts: stats, verify, compact"))
    embedded = commands.add_parser("embedded", help="build the embedded judge (untrained, for trying things out)")
    embedded.add_argument("--dir", type=Path, default=None, help="where (default: a cache folder)")
    embedded.set_defaults(command=_embedded)
    return parser


def _store_commands(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(title="tasks", required=True, metavar="TASK")
    texts: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
        "stats": (_store_stats, "what is in a store: facts, failures, tokens, per rubric, model and day"),
        "verify": (_store_verify, "read every part whole: torn, foreign, lost or doubled ones, and what to do"),
        "compact": (_store_compact, "many small parts into few; safe beside a running job"),
    }
    for name, (command, text) in texts.items():
        task = tasks.add_parser(name, help=text, description=text)
        task.add_argument("store", metavar="DIR", help="a store: a folder or a URI")
        task.add_argument("--json", action="store_true", help="as one JSON object (default: text)")
        task.set_defaults(command=command)
    task.add_argument(
        "--all",
        action="store_true",
        help="also parts of the last two hours; only where no job is filling the store (default: leave them)",
    )


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


def add_job_options(parser: argparse.ArgumentParser, *, fills: bool = False, selects: bool = False) -> None:
    """What overrides keys of a job, and what a command that asks, or decides, takes besides."""
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
        sys.path.append(str(Path.cwd()))  # a judge of one's own is found here, as `python -m` would find it
    job = load_job(
        options.job, options.set, input_paths=options.input, out=options.out, store=options.store, limit=options.limit
    )
    check_paths(job)
    return job


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Scan, fill, select; the summary on standard output."""
    return report(*whole_run(load(options), options))


def whole_run(job: LoadedJob, options: argparse.Namespace) -> tuple[Manifest, str]:
    """Scan, fill, select; returns the manifest and the run folder."""
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages as runs

    with cluster():
        level = logs.level_name(options.log_level)
        stage = runs.begin(job, for_fill=True, retry_unscored=options.retry_unscored, log_level=level)
        _say(_scanned(stage))
        if stage.scan.rows_in:
            runs.fill(stage, _say)
        return runs.select(stage, options.format, filled=True)


def _scan(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages as runs

    with cluster():
        print(_scanned(runs.begin(load(options), for_fill=False)))
    return OK


def _scanned(stage: "object") -> str:
    from coigw_judge.run.manifest import screen_hits
    from coigw_judge.run.state import Stage
    from coigw_judge.run.summary import screen_lines
    from coigw_judge.scan import input_checks as complaints

    assert isinstance(stage, Stage)
    scan = stage.scan
    if not scan.rows_in:
        return f"{stage.job.config.name}: the input holds no rows; there is nothing to judge"
    kinds = ", ".join(f"{n:,} with {kind.replace('+', ', ')}" for kind, n in sorted(scan.kinds.items()))
    screened = f", {scan.screened:,} screened" if scan.screened else ""
    settled = f"{scan.duplicates:,} duplicates, {scan.unreadable:,} unreadable{screened}"
    said = f"scanned {scan.rows_in:,} rows: {kinds}; {settled}"
    return "\n".join([said, *screen_lines(screen_hits(scan)), *complaints.of_scan(scan)])


def _fill(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages as runs

    job = load(options)
    with cluster():
        level = logs.level_name(options.log_level)
        stage = runs.begin(job, for_fill=True, retry_unscored=options.retry_unscored, log_level=level)
        _say(_scanned(stage))
        if stage.scan.rows_in:
            runs.fill(stage, _say)
    print(f"{int(stage.tally['asks.made']):,} asks made; facts are in {job.store}")
    return OK


def _select(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline import passes
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import stages as runs
    from coigw_judge.select import sweep as sweeping

    job = load(options)
    grid = None if options.sweep is None else sweeping.parse_grid(options.sweep)
    with cluster():
        stage = runs.begin(job, for_fill=False)
        _say(_scanned(stage))
        if grid is not None:
            found = passes.sweep(stage.view(), grid)
            as_json = json.dumps([asdict(each) for each in found])
            print(as_json if options.json else sweeping.as_text(found, stage.scan.rows_in))
            return OK
        manifest, folder = runs.select(stage, options.format, filled=False)
    return report(manifest, folder)


def report(manifest: Manifest, folder: str) -> int:
    """Print what a run did, write its page; returns its exit status."""
    from coigw_judge import report as page
    from coigw_judge.run.stages import too_many_unscored

    print(manifests.summary(manifest, folder))
    if manifest.rows_in:
        print(f"report: {page.build(folder)}")
    trouble = too_many_unscored(manifest)
    if trouble:
        _say(f"coigw-judge: {trouble}")
        return DIFFERENT
    return OK


def _plan(options: argparse.Namespace) -> int:
    from coigw_judge.pipeline.cluster import cluster
    from coigw_judge.run import dry_run as dryrun

    options.set = [*options.set, *dryrun.overrides(options.rate, options.price_per_gpu_hour)]
    job = load(options)
    with cluster():
        print(dryrun.report(job, prompts=options.prompts, sample=max(1, options.sample), as_json=options.json))
    return OK


def _show(options: argparse.Namespace) -> int:
    from coigw_judge.cli import show

    found = show.find(options.run, options.row)
    print(json.dumps(found, ensure_ascii=False, indent=2, default=str) if options.json else show.as_text(found))
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


def _check(options: argparse.Namespace) -> int:
    from coigw_judge.run import check as checks

    lines = checks.check_files()
    if options.job is not None:
        lines += checks.check_job(load(options))
    print("\n".join(lines))
    return OK


def _store_stats(options: argparse.Namespace) -> int:
    from coigw_judge.store import verify as upkeep

    store = _opened(options.store)
    rows = upkeep.stats(store)
    print(json.dumps(rows, ensure_ascii=False) if options.json else upkeep.stats_as_text(store, rows))
    return OK


def _store_verify(options: argparse.Namespace) -> int:
    from coigw_judge.store import verify as upkeep

    found = upkeep.verify(_opened(options.store))
    print(json.dumps(found.as_json(), ensure_ascii=False) if options.json else found.as_text())
    return OK if found.sound else DIFFERENT


def _store_compact(options: argparse.Namespace) -> int:
    from coigw_judge.store import compaction

    found = compaction.compact(_opened(options.store), all_parts=options.all)
    print(json.dumps(found) if options.json else compaction.as_text(found))
    return OK


def _opened(path: str) -> "Store":
    """A store that is there; a path that holds none is a mistake, not an empty store."""
    from coigw_judge.store.parts import Store

    check_reach(path, "store")
    store = Store(resolve(path, Path.cwd()))
    if not store.exists():
        raise FixStore(
            f"{path}: is no store (it has no parts/, compacted/ or scans/); give the folder that a job names"
        )
    return store


def _embedded(options: argparse.Namespace) -> int:
    from coigw_judge.judges import embedded

    print(f"embedded judge: {embedded.build(options.dir)} (untrained: its scores are meaningless)")
    return OK


if __name__ == "__main__":
    sys.exit(main())
