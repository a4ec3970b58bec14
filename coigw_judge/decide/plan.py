"""What a record still needs, given what is known. Fill and select run this very function.

    needs = plan.next(subject, facts)      facts: what the store holds, by request key

It returns nothing once the gate has decided (early exit) or everything was asked; then the further samples that are
due by the first ones (resampling.py), all at once; then, by what all samples come to, the `then` rubrics of a record
that ends as kept or review; then nothing for good. Because a second run walks the same steps over the same facts, it
asks nothing.
A small share of the records, chosen by their digests, is asked a second time from the start (sample 1), so that it
can be told what re-asking alone changes. The second sample decides nothing.
Another small share is asked in full although early exit could spare some of it: what early exit leaves unasked tells
nothing, so only these records say how often each rubric would end any record (estimate/ask_order/).
Not known here: texts (digests are enough), judges, stores.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from coigw_judge.decide.gate import Gate
from coigw_judge.decide.resampling import Others, Resampling, further, merged
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.prompting.long_text import HeadTail
from coigw_judge.prompting.request import Need, request_key
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.records.record import FieldName, record_digest
from coigw_judge.replies.outcome import Scored, Unscored

Facts = Mapping[bytes, Scored | Unscored]
GENRE_RUBRIC = "genre"
"""The rubric whose choice stands in for a missing genre, where a job asks it first."""


REPEAT_AT, EXHAUSTIVE_AT = 12, 8
"""Which four bytes of a record's digest choose a share. (The first ones of an answer's digest choose its bucket.)"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A record without its texts: their digests, its genre where the input gives one, characters in all."""

    digests: Mapping[FieldName, bytes]
    genre: str | None
    chars: int = 0


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a record has come: the scorecard that the gate decides on, that of its first samples `alone`, the further
    samples that are `due`, asked or not, and what is `open`: the requests that the decision hangs on, then `then`."""

    card: Scorecard
    alone: Scorecard
    due: Sequence[Need]
    open: Sequence[Need]


@dataclass(frozen=True, slots=True)
class Plan:
    """A job's asks: rubrics in order, what is asked of the kept (`then`), the gate, and the ask fingerprints.

    `floor`: with early exit, go on asking unless a score lies below it (None: stop as soon as nothing can pass).
    `repeat`: the share of records that are asked a second time. `exhaustive`: the share whose first samples are asked
    in full although early exit is on. `head_tail`: how texts over the context are shown (None: not at all). `samples`:
    who is asked more than once for a decision.
    """

    rubrics: tuple[Rubric, ...]
    then: tuple[Rubric, ...]
    gate: Gate
    fingerprints: Mapping[str, str]
    early_exit: bool = True
    floor: float | None = None
    repeat: float = 0.0
    exhaustive: float = 0.0
    head_tail: HeadTail | None = None
    samples: Resampling = field(default_factory=Resampling)

    def next(self, subject: Subject, facts: Facts) -> Sequence[Need]:
        """The requests to make now; empty when the record is done. They may be made at the same time."""
        return self.reached(subject, facts).open or self.second(subject, facts)

    def reached(self, subject: Subject, facts: Facts) -> Reached:
        """Where a record stands, but for its second sample. No further sample is due before the first are complete."""
        alone = self.card_of(subject, facts)
        open_ = self._next(subject, facts, 0, alone)
        due = [] if open_ else self._further(subject, facts, alone)
        card = merged(alone, others_of(due, facts), self.samples.use)
        open_ = open_ or [need for need in due if need.key not in facts]
        if not open_ and self.then and card.decide(self.gate).decision in ("kept", "review"):
            genre = self.genre(subject, facts)
            open_ = [need for need in self._needs(self.then, subject, genre) if need.key not in facts]
        return Reached(card, alone, due, open_)

    def card(self, subject: Subject, facts: Facts) -> Scorecard:
        """What the gate decides on: all that `facts` say of the record, with what further samples come to."""
        return self.reached(subject, facts).card

    def _further(self, subject: Subject, facts: Facts, alone: Scorecard) -> list[Need]:
        due = self.samples.due(alone, self.gate)
        genre = self.genre(subject, facts) if due else None
        wanted = ((rubric, sample) for rubric in self.rubrics for sample in further(due.get(rubric.name, 1)))
        return [self.need(rubric, subject, genre, sample) for rubric, sample in wanted]

    def second(self, subject: Subject, facts: Facts) -> list[Need]:
        """What of `next` only tells how steady the judge is."""
        return self._next(subject, facts, 1, self.card_of(subject, facts, 1)) if self.repeats(subject) else []

    def _next(self, subject: Subject, facts: Facts, sample: int, card: Scorecard) -> list[Need]:
        """What is open of a sample of which the facts come to this card."""
        if self._awaits_genre(subject, facts):
            return [self.need(self.rubrics[0], subject, None)]
        genre = self.genre(subject, facts)
        open_needs = [n for n in self._needs(self.rubrics, subject, genre, sample) if n.key not in facts]
        if not self.early_exit or not open_needs or (not sample and self.in_full(subject)):
            return open_needs
        return [] if self.ends(card) else open_needs[:1]

    def repeats(self, subject: Subject) -> bool:
        """Whether the record is among those that are asked a second time."""
        return bool(self.repeat) and drawn(record_digest(subject.digests), REPEAT_AT, self.repeat)

    def in_full(self, subject: Subject) -> bool:
        """Whether the record is among those that are asked in full although early exit is on."""
        return self.early_exit and bool(self.exhaustive) and self.shares(record_digest(subject.digests))

    def shares(self, record: bytes) -> bool:
        """The same by a record's digest, whether early exit is on or not."""
        return drawn(record, EXHAUSTIVE_AT, self.exhaustive)

    def beyond(self, subject: Subject, facts: Facts) -> list[str]:
        """The rubrics of a record that is asked in full whose facts early exit would have spared."""
        lean = replace(self, exhaustive=0.0, then=(), samples=Resampling())
        seen, wanted = dict[bytes, Scored | Unscored](), set[bytes]()
        while needs := [need for need in lean.reached(subject, seen).open if need.key in facts]:
            wanted.update(need.key for need in needs)
            seen |= {need.key: facts[need.key] for need in needs}
        known = [n for n in self._needs(self.rubrics, subject, self.genre(subject, facts)) if n.key in facts]
        return [need.rubric for need in known if need.key not in wanted]

    def card_of(self, subject: Subject, facts: Facts, sample: int = 0) -> Scorecard:
        """What `facts` say of the record in one sample; `then` rubrics have but one."""
        genre = self.genre(subject, facts)
        asked: dict[str, Scored | Unscored | None] = {}
        lacking = []
        for rubric in self.rubrics if sample else (*self.rubrics, *self.then):
            if applies(rubric, subject):
                asked[rubric.name] = facts.get(self.need(rubric, subject, genre, sample).key)
            else:
                lacking.append(rubric.name)
        return Scorecard(asked, tuple(lacking))

    def genre(self, subject: Subject, facts: Facts) -> str | None:
        """The input's genre, else the judge's where rubric `genre` comes first in the job."""
        if subject.genre is not None or not self.genre_first():
            return subject.genre
        fact = facts.get(self.need(self.rubrics[0], subject, None).key)
        return fact.choices.get(GENRE_RUBRIC) if isinstance(fact, Scored) else None

    def keys(self, subject: Subject, facts: Facts) -> dict[str, bytes]:
        """The request key of every rubric that applies."""
        genre = self.genre(subject, facts)
        return {n.rubric: n.key for n in self._needs((*self.rubrics, *self.then), subject, genre)}

    def first_keys(self, subject: Subject) -> list[bytes]:
        """The keys that can be known before any fact is: of every rubric, or of `genre` alone where all wait for it."""
        if subject.genre is None and self.genre_first():
            return [self.need(self.rubrics[0], subject, None).key]
        again = self._needs(self.rubrics, subject, subject.genre, 1) if self.repeats(subject) else []
        return [*self.keys(subject, {}).values(), *(need.key for need in again)]

    def _awaits_genre(self, subject: Subject, facts: Facts) -> bool:
        if subject.genre is not None or not self.genre_first():
            return False
        return self.need(self.rubrics[0], subject, None).key not in facts

    def genre_first(self) -> bool:
        """Whether the job's first question is a record's genre."""
        return bool(self.rubrics) and self.rubrics[0].name == GENRE_RUBRIC

    def ends(self, card: Scorecard) -> bool:
        """Whether early exit asks no more of a record of which this is known."""
        if card.decide(self.gate).decision != "dropped":
            return False
        return self.floor is None or any(score < self.floor for score in card.scores(self.gate.use).values())

    def _needs(self, rubrics: tuple[Rubric, ...], subject: Subject, genre: str | None, sample: int = 0) -> list[Need]:
        return [self.need(rubric, subject, genre, sample) for rubric in rubrics if applies(rubric, subject)]

    def need(self, rubric: Rubric, subject: Subject, genre: str | None, sample: int = 0) -> Need:
        """A rubric's request about a record of this genre."""
        guidance = self.guidance(rubric, genre)
        policy = self.head_tail
        cut = policy.key(subject.digests) if policy is not None and policy.concerns(subject.chars) else None
        at = self.samples.temperature_of(sample)
        key = request_key(self.fingerprints[rubric.name], rubric, subject.digests, guidance, sample, cut, at)
        return Need(rubric.name, key, guidance, sample, at)

    @staticmethod
    def guidance(rubric: Rubric, genre: str | None) -> str | None:
        """What a rubric adds for a genre; the genre rubric itself knows none."""
        return None if rubric.name == GENRE_RUBRIC else rubric.guidance(genre)


def others_of(needs: Iterable[Need], facts: Facts) -> Others:
    """What is known of further samples, by rubric."""
    found: dict[str, list[Scored | Unscored | None]] = {}
    for need in needs:
        found.setdefault(need.rubric, []).append(facts.get(need.key))
    return found


def drawn(record: bytes, at: int, share: float) -> bool:
    """Whether a record's digest falls into a share: by four of its bytes, so a smaller share lies in a larger one."""
    return int.from_bytes(record[at : at + 4], "big") < share * (1 << 32)


def applies(rubric: Rubric, subject: Subject) -> bool:
    """Whether the record has every field that the rubric reads."""
    return all(name in subject.digests for name in rubric.reads)
