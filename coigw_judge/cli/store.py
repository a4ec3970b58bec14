"""Commands that are given a store: stats, verify, compact."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from coigw_judge.cli.options import DIFFERENT, OK
from coigw_judge.errors import FixStore
from coigw_judge.storage.paths import check_reach, resolve

if TYPE_CHECKING:
    from coigw_judge.store.parts import Store


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `store` and its tasks."""
    parser = commands.add_parser("store", help="look after the facts: stats, verify, compact")
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


def _store_stats(options: argparse.Namespace) -> int:
    from coigw_judge.store import verify

    store = _opened(options.store)
    rows = verify.stats(store)
    print(json.dumps(rows, ensure_ascii=False) if options.json else verify.stats_as_text(store, rows))
    return OK


def _store_verify(options: argparse.Namespace) -> int:
    from coigw_judge.store import verify

    result = verify.verify(_opened(options.store))
    print(json.dumps(result.as_json(), ensure_ascii=False) if options.json else result.as_text())
    return OK if result.sound else DIFFERENT


def _store_compact(options: argparse.Namespace) -> int:
    from coigw_judge.store import compaction

    counts = compaction.compact(_opened(options.store), all_parts=options.all)
    print(json.dumps(counts) if options.json else compaction.as_text(counts))
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
