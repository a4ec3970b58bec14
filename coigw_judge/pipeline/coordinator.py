"""The board of one fill: judge actors report to it, the driver reads it, and restarted actors learn their past.

An actor keeps its id while its processes die and are restarted. The board lives as long as the fill, on the driver's
node: nothing on it is lost with a worker node.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from coigw_judge.fill.ledger import FillTally, Held

TRIES = 3
"""How often a block is worked on, at the most: once, and again after each of two deaths."""

_DEATHS_BEFORE = 4
_DEATHS_AFTER = 2 * TRIES + 1
"""Deaths in a row, per replica, after which a judge is given up: before its first answer in a job, and after it.

The second leaves room for two records that kill the engine, each of which takes all tries of its block.
"""

_WORDLESS = "its process was killed or crashed, without a word"


@dataclass(frozen=True, slots=True)
class Welcome:
    """The board's answer to an actor's process that starts."""

    hopeless: str
    """Why the judge is given up; empty where it is not."""
    since: str | None
    """When work began on the oldest block that is not done (a moment, store/writer.py); None: there is none."""
    replica: int = 0
    """The replica's number, from 0 in the order in which actors came."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a judge's process reports of itself."""

    replica: int
    """The replica's number (Welcome)."""
    node: str
    """The node's address."""
    tally: FillTally
    """What it has done so far."""
    now: Mapping[Held, int]
    """What is in progress (fill/ledger.py)."""
    startup: float = 0.0
    """Seconds that it took to start."""


@dataclass(frozen=True, slots=True)
class Look:
    """The board at a moment."""

    total: FillTally
    """The tallies of all processes, dead ones included, summed."""
    reports: dict[str, Report]
    """By process; dead ones have nothing in progress."""
    living: int
    """Actors that are alive."""
    starts: int
    """How often a process started."""
    deaths: int
    """How often one died."""
    startup: float = 0.0
    """Seconds of the slowest start."""


class Board:
    """Tallies, deaths and blocks of a fill. `answered`: whether the job's judge has ever answered."""

    def __init__(self, replicas: int, answered: bool) -> None:
        self._replicas = replicas
        self._answered = answered
        self._reports: dict[str, Report] = {}
        self._numbers: dict[str, int] = {}
        self._starts = self._deaths = 0
        self._here: dict[str, bool] = {}
        self._words: list[str] = []
        self._blamed: Counter[bytes] = Counter()
        self._begun: dict[bytes, tuple[str, int]] = {}
        self._over = False
        self._unread: dict[str, int] = {}

    def unread(self, why: str, splits: int) -> None:
        """Some splits could not be read a second time, for this reason."""
        self._unread[why] = self._unread.get(why, 0) + splits

    def all_unread(self) -> dict[str, int]:
        """How many splits could not be read, by reason."""
        return self._unread

    def arrive(self, actor: str) -> Welcome:
        """A process of this actor starts. One that was here before and left no last words was killed."""
        if self._here.get(actor):
            self.last_words(actor, _WORDLESS)
        self._here[actor] = True
        self._starts += 1
        lost = [since for since, tries in self._begun.values() if tries < TRIES]
        return Welcome(self._hopeless(), min(lost, default=None), self._numbers.setdefault(actor, len(self._numbers)))

    def _hopeless(self) -> str:
        limit = self._replicas * (_DEATHS_AFTER if self._answered else _DEATHS_BEFORE)
        if len(self._words) < limit:
            return ""
        return f"the judge died {len(self._words)} times in a row without an answer; at last: {self._words[-1]}"

    def last_words(self, actor: str, words: str) -> None:
        """This actor's process dies, and says why."""
        self._words.append(words)
        self._here[actor] = False
        self._deaths += 1
        self._empty(actor)

    def words(self) -> list[str]:
        """The last words since a judge last answered."""
        return self._words

    def left(self, actor: str) -> None:
        """This actor leaves for good, with nothing in progress."""
        self._here.pop(actor, None)
        self._empty(actor)

    def _empty(self, actor: str) -> None:
        """Nothing is in progress any more in the processes of this actor."""
        for process, report in self._reports.items():
            if report.replica == self._numbers.get(actor):
                self._reports[process] = replace(report, now={})

    def present(self) -> int:
        """How many actors have not left."""
        return len(self._here)

    def report(self, process: str, report: Report) -> None:
        """Take a process's report. Giving up a record counts as progress once the judge has answered in this job."""
        tally = report.tally
        before = self._reports[process].tally if process in self._reports else FillTally()
        answers = tally.answered - before.answered
        self._answered = self._answered or answers > 0
        if answers > 0 or (self._answered and tally.rows > before.rows):
            self._words.clear()
        self._reports[process] = report

    def begin(self, block: bytes, at: str) -> None:
        """Work on a block begins, at the store's moment `at`."""
        since, tries = self._begun.get(block, (at, 0))
        self._begun[block] = (since, tries + 1)

    def end(self, block: bytes) -> None:
        """A block's facts are on disk."""
        self._begun.pop(block, None)

    def blame(self, record: bytes) -> None:
        """An engine died while it had this record alone."""
        self._blamed[record] += 1

    def blamed(self, record: bytes) -> int:
        """How often that happened."""
        return self._blamed[record]

    def finish(self) -> None:
        """The fill is over: actors flush and leave."""
        self._over = True

    def over(self) -> bool:
        """Whether the fill is over."""
        return self._over

    def look(self) -> Look:
        """The board as it is now."""
        reports = self._reports.values()
        total = sum((report.tally for report in reports), FillTally())
        startup = max((report.startup for report in reports), default=0.0)
        return Look(total, dict(self._reports), sum(self._here.values()), self._starts, self._deaths, startup)


def open_board(replicas: int, answered: bool) -> Any:
    """A board as an actor on this node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here}
    return ray.remote(Board).options(**options).remote(replicas, answered)
