"""Structured logs: one JSON object a line, with the ids that lead to a row and never its text.

Events are logged through the standard library's `logging`, under `coigw_judge.*`:

    {"time": "2026-01-31T10:00:00.123Z", "level": "info", "event": "unscored", "run": ..., "row_id": ..., "cause": ...}

A judge actor writes to its standard error, which Ray keeps in the node's log folder and log collectors read; the
driver writes where `--log-json` says. What a line may hold is listed here: a field that is not in FIELDS is left out
of every line above debug. So what comes from a record, a reply or another program's error stays out of the logs
even where somebody logs it by mistake. At debug there are details, which may quote a reply or a record.
docs/metrics.md lists the events.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from coigw_judge.errors import CoigwError, FixInput

ROOT = "coigw_judge"
LEVELS = ("debug", "info", "warning", "error")
LEVEL_VARIABLE = "COIGW_LOG_LEVEL"

FIELDS = frozenset(
    {
        *("run", "job", "job_file", "folder", "replica", "actor", "node", "pid"),
        *("row_id", "record", "key", "rubric", "sample", "attempt", "cause", "outcome", "finish_reason", "error"),
        *("round", "care", "rows", "duplicates", "unreadable", "screened", "blocks", "count", "complete", "trouble"),
        *("asks", "from_store", "retried", "scored", "unscored", "causes", "facts", "decisions", "replicas"),
        *("seconds", "prompt_tokens", "cached_tokens", "generated_tokens", "starts", "deaths", "level"),
    }
)
"""What a line above debug may hold: ids, names, counts, times. `trouble` is a store's error: paths and the system's
words; `error` is the type of an error, never its text."""

_CREDENTIALS = re.compile(r"://[^/@\s\"]+@")
"""What a URI may hold before its host: `s3://key:secret@bucket`."""

_log = logging.getLogger(ROOT)
_log.addHandler(logging.NullHandler())  # else logging prints warnings to standard error where nobody asked for logs
_context: dict[str, Any] = {}


class JsonLines(logging.Formatter):
    """A record as one line of JSON. `context` stands in every line."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment.replace("+00:00", "Z"), "level": record.levelname.lower(), "logger": record.name}
        fields = {**self._context, **getattr(record, "fields", {})}
        if record.levelno > logging.DEBUG:
            fields = {name: value for name, value in fields.items() if name in FIELDS}
        if record.exc_info and record.exc_info[0] is not None:
            fields["error"] = record.exc_info[0].__name__
        shown = {name: value for name, value in fields.items() if value is not None}
        text = json.dumps({**line, "event": record.msg, **shown}, ensure_ascii=True, default=str)
        return _CREDENTIALS.sub("://***@", text)


def event(log: logging.Logger, level: int, name: str, **fields: Any) -> None:
    """Log an event. A field that is None is left out; see FIELDS for those that reach a line above debug.

    What an event above debug has to say beside them, its `detail`, becomes a line of its own at debug.
    """
    if log.isEnabledFor(level):
        log.log(level, name, extra={"fields": fields})
    if level > logging.DEBUG and fields.get("detail") and log.isEnabledFor(logging.DEBUG):
        log.debug(f"{name}_detail", extra={"fields": fields})


def level_name(chosen: str | None) -> str:
    """The level in force: the option's, else the environment's, else info. Raises FixInput."""
    name = (chosen or os.environ.get(LEVEL_VARIABLE) or "info").lower()
    if name not in LEVELS:
        raise FixInput(f"{LEVEL_VARIABLE}: {name} is no level; use one of {', '.join(LEVELS)}")
    return name


def bind(**context: Any) -> None:
    """Put these into every line of this process from now on, such as the run's name."""
    _context.update(context)


def to_stderr(level: str, **context: Any) -> None:
    """Write this process's lines to standard error for as long as it lives. `context` stands in every line."""
    bind(**context)
    _open(logging.StreamHandler(sys.stderr), level)


def _open(handler: logging.Handler, level: str) -> None:
    handler.setFormatter(JsonLines(_context))
    _log.addHandler(handler)
    _log.setLevel(level.upper())
    _log.propagate = False  # Ray's workers have a handler of their own at the top


@contextmanager
def written(target: str | None, level: str) -> Iterator[None]:
    """Append the lines of what happens inside to a local file, or to standard error for `-`; None: nowhere.

    An error that ends it is logged by its type. Raises FixInput where the file cannot be written.
    """
    if target is None:
        yield
        return
    try:
        handler = logging.StreamHandler(sys.stderr) if target == "-" else logging.FileHandler(target, encoding="utf-8")
    except OSError as error:
        raise FixInput(f"--log-json {target}: cannot be written ({error.strerror}); give a local file or -") from error
    _open(handler, level)
    try:
        yield
    except (CoigwError, KeyboardInterrupt) as error:
        event(_log, logging.ERROR, "ended", error=type(error).__name__)
        raise
    finally:
        _log.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
        _log.setLevel(logging.NOTSET)
        _log.propagate = True
        _context.clear()
