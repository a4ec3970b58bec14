"""A Ray cluster to work on: the one that is there, or a local one."""

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.data import DataContext

from coigw_judge.errors import FixInput
from coigw_judge.pipeline.ray_internals import silence_cluster_events, stop_log_monitor


@contextmanager
def cluster() -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names (a submitted job's does), or start a local one and end it."""
    # At every start of an actor pool Ray's core prints an internal warning that nobody can act on.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    started = not ray.is_initialized()
    if started and not os.environ.get("RAY_ADDRESS"):
        # Nobody reads a local cluster's own metrics and task events; on two cores the engine feels them.
        os.environ.setdefault("RAY_enable_metrics_collection", "0")
        os.environ.setdefault("RAY_metrics_report_interval_ms", "60000")
        os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    if started:
        # The workers of a local cluster import what the driver can: a judge of the user's own lies on its path.
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with _without_lines("Set ray log level", "gcs_client.cc", "rpc_client.h"):
            _connect(os.environ.get("RAY_ADDRESS", ""))
    silence_cluster_events()
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it prints a traceback for every block asked again
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.actor_init_retry_on_errors = True
    context.actor_init_max_retries = 5
    context.max_errored_blocks = -1
    try:
        with _terminated_as_interrupted():
            try:
                yield
            finally:
                if started:
                    _excuse_threads()
                    ray.shutdown()
    finally:
        if started and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what ray.init put there is for its own processes


def _connect(address: str) -> None:
    """Connect to the cluster at an address, or start a local one where there is none. Raises FixInput."""
    if "://" in address:
        raise FixInput(
            f"RAY_ADDRESS: {address} is where `ray job submit` sends jobs to; on a node of the cluster give host:6379 "
            "(the address of `ray start`), elsewhere submit the job"
        )
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        stop_log_monitor()
    except ray.exceptions.AuthenticationError as error:
        raise FixInput(
            f"RAY_AUTH_MODE is {os.environ.get('RAY_AUTH_MODE')}, and there is no token; set RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH to a file that holds it, to that of the cluster"
        ) from error
    except ConnectionError as error:
        raise FixInput(
            f"RAY_ADDRESS: no connection to a Ray cluster at {address}; start one or unset it. Where one runs, it may "
            "want its token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, the same as on its nodes"
        ) from error


def devices() -> str:
    """What the cluster computes on, for people: its kinds of accelerators, else its processors."""
    there = ray.cluster_resources()
    kinds = sorted(name.removeprefix("accelerator_type:") for name in there if name.startswith("accelerator_type:"))
    return ", ".join(kinds) if kinds else f"{there.get('CPU', 0):g} processors"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: `ray job stop` and batch systems send it, and Ray would abort the process.

    Only the first one: while the actors flush and Ray shuts down another would cut that short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _excuse_threads() -> None:
    """Print no traceback of a thread that finds Ray gone.

    Ray Data leaves threads behind where a fill is interrupted, and one of them waits for objects. The hook is never
    removed, because they may notice after the shutdown.
    """
    before = threading.excepthook

    def hook(trouble: threading.ExceptHookArgs) -> None:
        if not issubclass(trouble.exc_type, ray.exceptions.RayError):
            before(trouble)

    threading.excepthook = hook


@contextmanager
def _without_lines(*words: str) -> Iterator[None]:
    """Hold back what native code writes to standard error, and pass it on without lines that hold one of `words`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not any(word.encode() in line for word in words):
                    os.write(2, line)
