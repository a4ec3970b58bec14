"""What a record still needs, given what is known. Fill and select run this very function.

    needs = plan.next(subject, facts)      facts: what the store holds, by request key

It returns nothing once the gate has decided (early exit) or everything was asked; then the `then` rubrics of a
record that ends as kept or review; then nothing for good. Because a second run walks the same steps over the
same facts, it asks nothing.
Not known here: texts (digests are enough), judges, stores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coigw_judge.ask import Need, request_key
from coigw_judge.card import Scorecard
from coigw_judge.gate import Gate
from coigw_judge.headtail import HeadTail
from coigw_judge.reply import Scored, Unscored
from coigw_judge.rubric import FieldName, Rubric

Facts = Mapping[bytes, Scored | Unscored]
GENRE_RUBRIC = "genre"
"""The rubric whose choice stands in for a missing genre, where a job asks it first."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A record without its texts: their digests, its genre where the input gives one, characters in all."""

    digests: Mapping[FieldName, bytes]
    genre: str | None
    chars: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A job's asks: rubrics in order, what is asked of the kept (`then`), the gate, and the ask fingerprints.

    `floor`: with early exit, go on asking unless a score lies below it (None: stop as soon as nothing can pass).
    `head_tail`: how texts over the context are shown (None: not at all).
    """

    rubrics: tuple[Rubric, ...]
    then: tuple[Rubric, ...]
    gate: Gate
    fingerprints: Mapping[str, str]
    early_exit: bool = True
    floor: float | None = None
    categories: Mapping[str, str] = field(default_factory=dict)
    head_tail: HeadTail | None = None

    def next(self, subject: Subject, facts: Facts) -> list[Need]:
        """The requests to make now; empty when the record is done. They may be made at the same time."""
        if self._awaits_genre(subject, facts):
            return [self._need(self.rubrics[0], subject, None)]
        genre = self.genre(subject, facts)
        open_needs = [n for n in self._needs(self.rubrics, subject, genre) if n.key not in facts]
        if open_needs:
            if not self.early_exit:
                return open_needs
            if not self._decided(self.card(subject, facts)):
                return open_needs[:1]
        if not self.then:
            return []
        if self.card(subject, facts).decide(self.gate).decision not in ("kept", "review"):
            return []
        return [n for n in self._needs(self.then, subject, genre) if n.key not in facts]

    def card(self, subject: Subject, facts: Facts) -> Scorecard:
        """All that `facts` say of the record."""
        genre = self.genre(subject, facts)
        asked: dict[str, Scored | Unscored | None] = {}
        lacking = []
        for rubric in (*self.rubrics, *self.then):
            if applies(rubric, subject):
                asked[rubric.name] = facts.get(self._need(rubric, subject, genre).key)
            else:
                lacking.append(rubric.name)
        return Scorecard(asked, tuple(lacking))

    def genre(self, subject: Subject, facts: Facts) -> str | None:
        """The input's genre, else the judge's where rubric `genre` comes first in the job."""
        if subject.genre is not None or not self._genre_first():
            return subject.genre
        fact = facts.get(self._need(self.rubrics[0], subject, None).key)
        return fact.choices.get(GENRE_RUBRIC) if isinstance(fact, Scored) else None

    def keys(self, subject: Subject, facts: Facts) -> dict[str, bytes]:
        """The request key of every rubric that applies."""
        genre = self.genre(subject, facts)
        return {n.rubric: n.key for n in self._needs((*self.rubrics, *self.then), subject, genre)}

    def first_keys(self, subject: Subject) -> list[bytes]:
        """The keys that can be known before any fact is: of every rubric, or of `genre` alone where all wait for it."""
        if subject.genre is None and self._genre_first():
            return [self._need(self.rubrics[0], subject, None).key]
        return list(self.keys(subject, {}).values())

    def _awaits_genre(self, subject: Subject, facts: Facts) -> bool:
        if subject.genre is not None or not self._genre_first():
            return False
        return self._need(self.rubrics[0], subject, None).key not in facts

    def _genre_first(self) -> bool:
        return bool(self.rubrics) and self.rubrics[0].name == GENRE_RUBRIC

    def _decided(self, card: Scorecard) -> bool:
        if card.decide(self.gate).decision != "dropped":
            return False
        return self.floor is None or any(score < self.floor for score in card.scores().values())

    def _needs(self, rubrics: tuple[Rubric, ...], subject: Subject, genre: str | None) -> list[Need]:
        return [self._need(rubric, subject, genre) for rubric in rubrics if applies(rubric, subject)]

    def _need(self, rubric: Rubric, subject: Subject, genre: str | None) -> Need:
        guidance = None if rubric.name == GENRE_RUBRIC else rubric.guidance(genre, self.categories.get(genre or ""))
        policy = self.head_tail
        cut = policy.key(subject.digests) if policy is not None and policy.concerns(subject.chars) else None
        key = request_key(self.fingerprints[rubric.name], rubric, subject.digests, guidance, 0, cut)
        return Need(rubric.name, key, guidance)


def applies(rubric: Rubric, subject: Subject) -> bool:
    """Whether the record has every field that the rubric reads."""
    return all(name in subject.digests for name in rubric.reads)
