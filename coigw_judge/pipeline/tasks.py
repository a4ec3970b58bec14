"""Plain functions run over a cluster, one Ray Data task per item."""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import ray
import ray.data

from coigw_judge import errors
from coigw_judge.counts import Counts
from coigw_judge.errors import CoigwError, FixStore

Counted = TypeVar("Counted", bound=Counts)


def add_up(items: list[dict[str, Any]], task: Callable[[dict[str, Any]], Counted], nothing: Counted) -> Counted:
    """Run a counting task over items, as `run_tasks` does, and add up the counts. `nothing` begins the sum."""
    return sum(run_tasks(items, task), nothing)


def run_tasks(items: list[dict[str, Any]], task: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """Run `task` over items as a Ray Data graph, one task per item; a single one runs here, without Ray.

    Items and results are pickled; results come in any order. A CoigwError of a task is raised here, and an OSError as
    FixStore.
    """

    def guarded(row: dict[str, bytes]) -> dict[str, bytes | str]:
        # An exception would be one errored block among many; as a value it keeps its type and message.
        try:
            return {"done": pickle.dumps(task(pickle.loads(row["item"]))), "error": "", "message": ""}
        except CoigwError as error:
            return {"done": b"", "error": type(error).__name__, "message": str(error)}
        except OSError as error:  # a disk, a network, the rights to an object
            said = f"{' '.join(str(error).split())}; run again once it can be read and written"
            return {"done": b"", "error": FixStore.__name__, "message": said}

    rows = [{"item": pickle.dumps(item)} for item in items]
    results = []
    if len(items) <= 1:
        done: Any = map(guarded, rows)
    else:
        done = ray.data.from_items(rows, override_num_blocks=len(items)).map(guarded, num_cpus=1).iter_rows()
    for row in done:
        if row["error"]:
            raise getattr(errors, row["error"])(row["message"])
        results.append(pickle.loads(row["done"]))
    if len(results) != len(items):
        raise FixStore(f"{len(items) - len(results)} of {len(items)} tasks failed; Ray's log says why: {_log_folder()}")
    return results


def _log_folder() -> str:
    """Where the connected cluster's node keeps its logs."""
    connected = ray.init(ignore_reinit_error=True, configure_logging=False)  # else it says that it was called again
    return f"{connected.address_info['session_dir']}/logs"
