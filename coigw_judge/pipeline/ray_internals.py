"""What a run changes inside Ray, by names that Ray does not promise to keep; no other module uses such a name.

Each change saves an engine's processor time, or lines on the terminal that nobody can act on. Ray 2.60 has no setting
for any of them. A Ray that has moved a name is left as it is, and the run goes on.
"""

import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

_WORKER = "ray._private.worker"
_EXECUTOR = "ray.data._internal.execution.streaming_executor_state"
_LOOK_SECONDS = 0.5


def silence_cluster_events() -> None:
    """Keep Ray's own lines off standard output; they stand in its logs too.

    A lost node is dozens of them, in colours, whatever log_to_driver says. Ray's debugger silences them so.
    """
    _replace(_WORKER, {"_worker_logs_enabled": False})


def stop_log_monitor() -> None:
    """End the process of a local cluster that looks for workers' lines ten times a second: nobody wants them."""
    node = getattr(_module(_WORKER), "_global_node", None)
    kill = getattr(node, "kill_log_monitor", None)
    if kill is not None:
        kill(check_alive=False)


@contextmanager
def looking_less_often() -> Iterator[None]:
    """Have Ray Data look at its tasks twice a second, not ten times; and for a block to hand out, not a hundred times.

    Looking takes processor time from an engine on the same cores, and an actor has as many blocks again waiting as it
    works on. Passes after a fill have short tasks and no engine beside them.
    """
    seldom = SimpleNamespace(**{**vars(time), "sleep": lambda least: time.sleep(max(least, _LOOK_SECONDS))})
    before = _replace(_EXECUTOR, {"WAIT_FOR_TASK_COMPLETION_TIMEOUT_S": _LOOK_SECONDS, "time": seldom})
    try:
        yield
    finally:
        _replace(_EXECUTOR, before)


def _replace(module_name: str, values: Mapping[str, object]) -> dict[str, object]:
    """Set names of a module, as far as it has them; returns their values before."""
    module = _module(module_name)
    before = {name: getattr(module, name) for name in values if hasattr(module, name)}
    for name in before:
        setattr(module, name, values[name])
    return before


def _module(name: str) -> ModuleType | None:
    """A module of Ray's, or None where this Ray has none of that name."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
