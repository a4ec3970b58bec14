"""All screens over one record: each hit is a sentence, and drops the record or flags it as the job says.

    screens = Screens(job.screen)
    looked = screens.look(record, row, columns)       # what the record shows by itself
    screens.settled(findings)                         # flags, sentences, and the first that drops

A screen that other rows decide (an older copy, a near duplicate, a text that is excluded) gets its finding later,
from scan/copies.py; `settled` then is called again. Content screens only flag unless a job says otherwise: slogans,
refrains and advertising are genres here, and such genres are exempt (config.py).
No finding ever changes what a judge is asked.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from coigw_judge.records.record import Record
from coigw_judge.screens.boilerplate_lines import boilerplate
from coigw_judge.screens.characters import HAN, LETTER, LOOKED_AT, Characters, characters
from coigw_judge.screens.config import Screen
from coigw_judge.screens.dates import published
from coigw_judge.screens.engagement import count
from coigw_judge.screens.injection.detect import suspected
from coigw_judge.screens.lexical_diversity import mattr, ttr, words
from coigw_judge.screens.mojibake import damage
from coigw_judge.screens.repetition import repeated

SUSPECTED = "injection_suspected"
"""The flag of a record that addresses its judge; its screen is called `injection`."""

NAMES = (
    "published_after", "no_date", "excluded", "encoding", "injection", "min_chars", "max_chars", "chinese",
    "boilerplate", "repetition", "min_likes", "min_shares", "min_comments", "near_duplicate", "excluded_near",
)  # fmt: skip
"""All screens but `duplicate`, in the order in which the first that drops is the one that is counted."""

ENGAGEMENT = ("likes", "shares", "comments")
_FEWEST_LETTERS = 20
"""Of fewer letters the share of Chinese ones says nothing."""

_SHORTEST_REPETITION = 40
"""Characters of the shortest text in which repetition is looked for: a slogan may be one word three times."""

_SHOWN_CHARS = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """A hit: which screen, and a sentence for people."""

    screen: str
    text: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What a record shows by itself. `suspected` are the words with which it addresses its judge."""

    findings: tuple[Finding, ...]
    published: date | None
    suspected: str | None
    ttr: float | None
    mattr: float | None


class Screens:
    """A job's screens, ready to look."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._exempt: dict[tuple[str, str | None], bool] = {}

    def look(self, record: Record, row: Mapping[str, Any], columns: Mapping[str, str]) -> Looked:
        """Look at a record; `row` is as it was read, for what is no text, and `columns` maps our names to its own."""
        day = published(row.get(columns.get("published_at", "published_at")))
        answer = record.texts["answer"][:LOOKED_AT]
        words_to_judge = suspected(record.texts)
        findings = [*self.dated(day), *self._texts(record, answer), *self._engaged(record.genre, row, columns)]
        if words_to_judge and not self.is_exempt("injection", record.genre):
            findings.append(Finding("injection", f"addresses the judge: {words_to_judge}"))
        found = words(answer[: self._segmented()]) if self._screen.diversity else []
        return Looked(tuple(findings), day, words_to_judge, ttr(found), mattr(found))

    def dated(self, day: date | None, *, copied: bool = False) -> Iterator[Finding]:
        """What the date screen says of a day; `copied` where the day is an earlier copy's."""
        setting = self._screen.published_after
        if setting is None or setting.action == "off":
            return
        if day is None:
            if self._screen.missing_date != "keep":
                yield Finding("no_date", "no date of publication that can be read")
        elif day <= setting.value:
            by = " (by its earliest copy)" if copied else ""
            yield Finding("published_after", f"published on {day}{by}, not after {setting.value}")

    def drops(self, screen: str) -> bool:
        """Whether a screen's hits are dropped."""
        settings = self._screen
        match screen:
            case "no_date":
                return settings.missing_date == "drop"
            case "injection":
                return settings.injection == "drop"
            case "excluded" | "excluded_near":
                exclude = settings.exclude
                return exclude is not None and (exclude.action if screen == "excluded" else exclude.near) == "drop"
        return bool(getattr(settings, screen) and getattr(settings, screen).action == "drop")

    def on(self, screen: str, genre: str | None = None) -> bool:
        """Whether a screen that other rows decide is on for a genre."""
        exclude = self._screen.exclude
        if screen in ("excluded", "excluded_near"):
            return exclude is not None and (exclude.action if screen == "excluded" else exclude.near) != "off"
        return self._screen.setting(screen) is not None and not self.is_exempt(screen, genre)

    def settled(self, findings: Iterable[Finding]) -> dict[str, Any]:
        """A row's columns: `flags`, `screens` (a sentence each); `screened`, `screened_by`: the first that drops."""
        ordered = sorted(findings, key=lambda finding: NAMES.index(finding.screen))
        dropped = next((finding for finding in ordered if self.drops(finding.screen)), None)
        flagged = [each.screen for each in ordered if each.screen == "injection" or not self.drops(each.screen)]
        return {
            "flags": [SUSPECTED if name == "injection" else name for name in flagged],
            "screens": [f"{each.screen}: {each.text}" for each in ordered],
            "screened": dropped.text if dropped else None,
            "screened_by": dropped.screen if dropped else None,
        }

    def _segmented(self) -> int:
        return LOOKED_AT if self._screen.diversity is True else int(self._screen.diversity)

    def is_exempt(self, screen: str, genre: str | None) -> bool:
        """Whether a screen leaves a genre alone."""
        key = (screen, genre)
        if key not in self._exempt:
            if len(self._exempt) > 10_000:  # a column of genres that are none must not fill memory
                self._exempt.clear()
            self._exempt[key] = self._screen.exempts(screen, genre)
        return self._exempt[key]

    def _on(self, screen: str, genre: str | None) -> float | None:
        """A screen's threshold where it is on for a genre."""
        setting = self._screen.setting(screen)
        return None if setting is None or self.is_exempt(screen, genre) else setting.value

    def _texts(self, record: Record, answer: str) -> Iterator[Finding]:
        genre, found = record.genre, characters(answer)
        if (value := self._on("encoding", genre)) is not None:
            share, shown = damage(answer, found)
            if share and share >= value:
                yield Finding("encoding", f"broken encoding: {share:.1%} of the characters, such as {_short(shown)}")
        yield from self._lengths(genre, record.texts["answer"], found)
        if (value := self._on("chinese", genre)) is not None:
            letters = found.counts[HAN] + found.counts[LETTER]
            if letters >= _FEWEST_LETTERS and found.counts[HAN] < value * letters:
                yield Finding("chinese", f"{found.counts[HAN] / letters:.0%} of the letters are Chinese, < {value:.0%}")
        if (value := self._on("boilerplate", genre)) is not None:
            hits, lines, shown = boilerplate(answer, found)
            if hits and hits >= value * lines:
                yield Finding(
                    "boilerplate", f"{hits} of {lines} lines are a site's or an advertiser's, such as {_short(shown)}"
                )
        if (value := self._on("repetition", genre)) is not None:
            share, shown = repeated(answer, found) if found.visible >= _SHORTEST_REPETITION else (0.0, "")
            if share and share >= value:
                yield Finding("repetition", f"{share:.0%} of the text stood in it before, such as {_short(shown)}")

    def _lengths(self, genre: str | None, answer: str, characters: Characters) -> Iterator[Finding]:
        least, most = self._on("min_chars", genre), self._on("max_chars", genre)
        if least is None and most is None:
            return
        size = characters.visible if len(answer) <= LOOKED_AT else sum(map(len, answer.split()))
        if least is not None and size < least:
            yield Finding("min_chars", f"{size} characters < {least:g}")
        if most is not None and size > most:
            yield Finding("max_chars", f"{size} characters > {most:g}")

    def _engaged(self, genre: str | None, row: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[Finding]:
        for name in ENGAGEMENT:
            least = self._on(f"min_{name}", genre)
            if least is not None:
                given = count(row.get(columns.get(name, name)))
                if given is not None and given < least:
                    yield Finding(f"min_{name}", f"{name} {given:g} < {least:g}")


def as_finding(sentence: str) -> Finding:
    """A finding from what `settled` made of it."""
    screen, _, text = sentence.partition(": ")
    return Finding(screen, text)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 1]}…"
