"""What a record still needs, given the facts about it. Fill and select run this very function.

    needs = plan.next(subject, facts)      facts: what the store holds, by request key

First come the first samples, one after the other until the gate has decided (early exit), or all at once. Then the
further samples that are due by the first ones, all at once; then, by what all samples come to, the `then` rubrics of a
record that ends as kept or review; then the repeat, of a share of the records. Because a second run walks the same
steps over the same facts, it asks nothing. Which samples there are and who is drawn for them: prompting/samples.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from coigw_judge.decide.further_samples import Others, Resampling, merged
from coigw_judge.decide.gate import Gate
from coigw_judge.decide.scorecard import Scorecard
from coigw_judge.prompting.long_text import HeadTail
from coigw_judge.prompting.request import Need, request_key
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.prompting.samples import FIRST, REPEAT, Sample, SampleKind, further
from coigw_judge.records.record import FieldName, record_digest
from coigw_judge.replies.outcome import Scored, Unscored

Facts = Mapping[bytes, Scored | Unscored]
GENRE_RUBRIC = "genre"
"""The rubric whose choice stands in for a missing genre, where a job asks it first."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A record without its texts."""

    digests: Mapping[FieldName, bytes]
    """Of the texts."""
    genre: str | None
    """Where the input gives one."""
    chars: int = 0
    """Of all texts together."""


class Waits(NamedTuple):
    """Rubrics that records may still be asked for one kind of sample: of further samples as often as it is asked."""

    kind: SampleKind
    rubrics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How far a record has come."""

    card: Scorecard
    """What the gate decides on: all samples that decide."""
    first: Scorecard
    """The first samples alone."""
    asked_in_full: bool
    """Whether the first samples are asked in full although early exit is on."""
    due: Sequence[Need]
    """The further samples that are due, asked or not."""
    open: Sequence[Need]
    """The requests that the decision waits for, then those of `then`."""
    repeat: Scorecard | None
    """The repeat; None where the record is not drawn for it."""
    open_repeat: Sequence[Need]
    """The requests of the repeat that are not answered yet."""

    def first_waits(self) -> Waits:
        """The first samples that the record may still be asked, `then` included."""
        kind = SampleKind.IN_FULL if self.asked_in_full else SampleKind.FIRST
        return Waits(kind, tuple(self.card.not_asked()) if self.open else ())

    def waits(self) -> list[Waits]:
        """All that the record may still be asked, by kind of sample."""
        further = [need.rubric for need in self.open if SampleKind.of(need.sample) is SampleKind.FURTHER]
        repeat = self.repeat.not_asked() if self.repeat is not None and self.open_repeat else ()
        by_kind = (
            self.first_waits(),
            Waits(SampleKind.FURTHER, tuple(further)),
            Waits(SampleKind.REPEAT, tuple(repeat)),
        )
        return [waits for waits in by_kind if waits.rubrics]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job asks of every record, and what decides."""

    rubrics: tuple[Rubric, ...]
    """In the order of asking."""
    then: tuple[Rubric, ...]
    """Asked only of records that end as kept or review."""
    gate: Gate
    fingerprints: Mapping[str, str]
    """By rubric the fingerprint of its requests, records left aside."""
    early_exit: bool = True
    """Whether to stop asking once neither kept nor review is possible."""
    floor: float | None = None
    """With early exit, stop only where a score is below it; None: as soon as nothing can pass."""
    repeat: float = 0.0
    """The share of records that are asked a second time."""
    exhaustive: float = 0.0
    """The share of records whose first samples are asked in full although early exit is on."""
    head_tail: HeadTail | None = None
    """How texts over the context are shown; None: not at all."""
    samples: Resampling = field(default_factory=Resampling)
    """Who is asked more than once for a decision."""

    def next(self, subject: Subject, facts: Facts) -> Sequence[Need]:
        """The requests to make now; empty when the record is done. They may be made at the same time."""
        reached = self.reached(subject, facts)
        return reached.open or reached.open_repeat

    def reached(self, subject: Subject, facts: Facts) -> Reached:
        """Where a record stands. No further sample is due before the first ones are complete."""
        first, asked_in_full = self.card_of(subject, facts), self.asked_in_full(subject)
        repeat = self.card_of(subject, facts, REPEAT) if self.repeats(subject) else None
        open_ = self._open(subject, facts, SampleKind.IN_FULL if asked_in_full else SampleKind.FIRST, first)
        due = [] if open_ else self._further(subject, facts, first)
        card = merged(first, others_of(due, facts), self.samples.use)
        open_ = open_ or [need for need in due if need.key not in facts]
        if not open_ and self.then and card.decide(self.gate).decision in ("kept", "review"):
            genre = self.genre(subject, facts)
            open_ = [need for need in self._needs(self.then, subject, genre) if need.key not in facts]
        return Reached(
            card=card,
            first=first,
            asked_in_full=asked_in_full,
            due=due,
            open=open_,
            repeat=repeat,
            open_repeat=[] if repeat is None else self._open(subject, facts, SampleKind.REPEAT, repeat),
        )

    def card(self, subject: Subject, facts: Facts) -> Scorecard:
        """What the gate decides on: all that `facts` say of the record, with what further samples come to."""
        return self.reached(subject, facts).card

    def _further(self, subject: Subject, facts: Facts, first: Scorecard) -> list[Need]:
        due = self.samples.due(first, self.gate)
        genre = self.genre(subject, facts) if due else None
        wanted = ((rubric, sample) for rubric in self.rubrics for sample in further(due.get(rubric.name, 1)))
        return [self.need(rubric, subject, genre, sample) for rubric, sample in wanted]

    def _open(self, subject: Subject, facts: Facts, kind: SampleKind, card: Scorecard) -> list[Need]:
        """What is to be asked now of the first samples or the repeat, whose facts come to this card."""
        if self._awaits_genre(subject, facts):
            return [self.need(self.rubrics[0], subject, None)]
        genre = self.genre(subject, facts)
        sample = REPEAT if kind is SampleKind.REPEAT else FIRST
        open_needs = [n for n in self._needs(self.rubrics, subject, genre, sample) if n.key not in facts]
        if not self.early_exit or not kind.early_exit or not open_needs:
            return open_needs
        return [] if self.ends(card) else open_needs[:1]

    def repeats(self, subject: Subject) -> bool:
        """Whether the record is drawn for the repeat."""
        return bool(self.repeat) and SampleKind.REPEAT.draws(record_digest(subject.digests), self.repeat)

    def asked_in_full(self, subject: Subject) -> bool:
        """Whether the record is asked in full although early exit is on."""
        if not self.early_exit or not self.exhaustive:
            return False
        return SampleKind.IN_FULL.draws(record_digest(subject.digests), self.exhaustive)

    def beyond_early_exit(self, subject: Subject, facts: Facts) -> list[str]:
        """The rubrics of a record that is asked in full whose facts early exit would have spared."""
        lean = replace(self, exhaustive=0.0, repeat=0.0, then=(), samples=Resampling())
        seen, wanted = dict[bytes, Scored | Unscored](), set[bytes]()
        while needs := [need for need in lean.reached(subject, seen).open if need.key in facts]:
            wanted.update(need.key for need in needs)
            seen |= {need.key: facts[need.key] for need in needs}
        known = [n for n in self._needs(self.rubrics, subject, self.genre(subject, facts)) if n.key in facts]
        return [need.rubric for need in known if need.key not in wanted]

    def card_of(self, subject: Subject, facts: Facts, sample: Sample = FIRST) -> Scorecard:
        """What `facts` say of the record in one sample; `then` rubrics have the first one only."""
        genre = self.genre(subject, facts)
        asked: dict[str, Scored | Unscored | None] = {}
        lacking = []
        for rubric in (*self.rubrics, *self.then) if sample == FIRST else self.rubrics:
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
        repeat = self._needs(self.rubrics, subject, subject.genre, REPEAT) if self.repeats(subject) else []
        return [*self.keys(subject, {}).values(), *(need.key for need in repeat)]

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

    def _needs(
        self, rubrics: tuple[Rubric, ...], subject: Subject, genre: str | None, sample: Sample = FIRST
    ) -> list[Need]:
        return [self.need(rubric, subject, genre, sample) for rubric in rubrics if applies(rubric, subject)]

    def need(self, rubric: Rubric, subject: Subject, genre: str | None, sample: Sample = FIRST) -> Need:
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


def applies(rubric: Rubric, subject: Subject) -> bool:
    """Whether the record has every field that the rubric reads."""
    return all(name in subject.digests for name in rubric.reads)
