"""Errors, named by what the caller should do.

    CoigwError
    ├── FixInput          the command, a job, a rubric, a prompt or the input must change; exit 2
    │   ├── FixJob        the job file or an option
    │   ├── FixRubric     a rubric or its prompt
    │   ├── FixSource     an input file, its format or its columns
    │   └── FixStore      the store or a run folder
    ├── FixJudge          the judge as configured cannot work: model, engine arguments, self-test; exit 2
    ├── JudgeUnavailable  nothing is wrong with the request: a new engine (or a later try) may answer it
    └── CountsDiffer      the run ended, but its rows do not add up; exit 1

Trouble with a single record is never an exception: it is a row with a reason (record.Unreadable,
reply.Unscored). Every message names the file, the key and the fix, in one or two lines.
"""

import difflib
from collections.abc import Iterable


class CoigwError(Exception):
    """Base of all errors of this package; its text is meant for a person."""


class FixInput(CoigwError):
    """Something the user gave must change before anything can run."""


class FixJob(FixInput):
    """The job file or a command-line option must change."""


class FixRubric(FixInput):
    """A rubric or its prompt must change."""


class FixSource(FixInput):
    """An input path, its format or its columns must change."""


class FixStore(FixInput):
    """The store or a run folder is not what it should be, or cannot be written."""


class FixJudge(CoigwError):
    """The judge cannot work as configured; trying again will not help."""


class JudgeUnavailable(CoigwError):
    """The engine or server is gone or does not answer; a new one may."""


class CountsDiffer(CoigwError):
    """Rows in and rows out differ. The output is not to be trusted."""


def nearest(word: str, words: Iterable[str]) -> str:
    """Return `` (did you mean X?)`` for the closest of some words, or an empty string."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
