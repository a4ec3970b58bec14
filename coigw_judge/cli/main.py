"""The command line: parse, call, print.

Commands are grouped by what they are given: a job (jobs.py), a run folder (runs.py, people.py), a store (store.py).
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from coigw_judge import logs
from coigw_judge.cli import jobs, people, runs, store
from coigw_judge.cli.options import DIFFERENT, INTERRUPTED, OK, WRONG
from coigw_judge.errors import CoigwError, CountsDiffer

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for the driver of a submitted job."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return obey(build_parser().parse_args(given), again=["coigw-judge", *given])


def obey(options: argparse.Namespace, again: Sequence[str]) -> int:
    """Run the command that was parsed; returns the exit status.

    Errors a user can mend are one or two lines on standard error. `again` is the command to print after an
    interruption: it resumes the work.
    """
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
    except BrokenPipeError:  # the reader of our output, such as `head`, has ended
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
    for module in (jobs, runs, people, store):
        module.add_commands(commands)
    return parser
