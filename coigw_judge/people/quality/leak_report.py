"""Leaks by annotator: who wrote queries that quote the article, and thoughts that stand in another record too.

The texts are the input's, by its `annotator` column; those that annotators wrote in Label Studio take their place.
Texts are read as they stream; of each thought only its hashed pieces are kept (about 1 KB per thousand characters).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from coigw_judge.input.splits import read_split, row_id, split_file
from coigw_judge.people.calibration.file import Copy, Phrase, Writers, Wrote
from coigw_judge.people.export.write import files_of
from coigw_judge.people.labels.read import WrittenText
from coigw_judge.people.quality import leaks
from coigw_judge.records.record import Record, to_record
from coigw_judge.run_folder.folder import Run

_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Text:
    """One record's texts by one writer."""

    row_id: str
    annotator: str
    query: str
    thought: str
    answer: str


def report(run: Run, written: tuple[WrittenText, ...] = ()) -> Writers:
    """Per annotator: queries, how many are suspect, copied thoughts; and the worst examples of both."""
    own: dict[str, Wrote] = defaultdict(lambda: Wrote(queries=0, suspect=0, share=None, copied=0))
    shares: dict[str, float] = defaultdict(float)
    phrases: list[Phrase] = []
    names: list[tuple[str, str]] = []
    hashed: list[leaks.Hashes] = []
    for text in _texts(run, written):
        counts = own[text.annotator]
        if text.query:
            shared = leaks.shared_phrases(text.query, text.answer)
            counts.queries += 1
            counts.suspect += shared.suspect
            shares[text.annotator] += shared.share
            if shared.suspect:
                phrases.append(_phrase(text, shared))
                phrases = sorted(phrases, key=lambda phrase: (-phrase.characters, phrase.row_id))[:_EXAMPLES]
        if text.thought:
            names.append((text.row_id, text.annotator))
            hashed.append(leaks.pieces(text.thought))
    pairs = [pair for pair in leaks.copies(hashed) if names[pair[0]][0] != names[pair[1]][0]]
    for later in {max(a, b) for a, b, _ in pairs}:
        own[names[later][1]].copied += 1
    for name, share in shares.items():
        own[name].share = share / own[name].queries
    return Writers(
        annotators={name: own[name] for name in sorted(own)},
        phrases=phrases,
        copies=[
            Copy(rows=(names[a][0], names[b][0]), annotators=(names[a][1], names[b][1]), alike=share)
            for a, b, share in pairs[:_EXAMPLES]
        ],
        copied_pairs=len(pairs),
    )


def _phrase(text: Text, shared: leaks.Shared) -> Phrase:
    return Phrase(
        row_id=text.row_id,
        annotator=text.annotator,
        phrase=shared.longest,
        characters=len(shared.longest),
        share=shared.share,
    )


def _texts(run: Run, written: tuple[WrittenText, ...]) -> Iterator[Text]:
    """What people wrote for every record, in input order: in Label Studio, else what the input has."""
    given: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for new in sorted(written, key=lambda text: text.round):
        given[new.row or f"id {new.id}"][new.annotator][new.field] = new.text
    for row, record, who in _records(run):
        own = {name: record.texts[name] for name in ("query", "thought") if name in record.texts}
        for annotator, texts in (given.get(row) or given.get(f"id {record.id}") or {who: own}).items():
            if texts:
                query, thought = texts.get("query", ""), texts.get("thought", "")
                yield Text(row, annotator, query, thought, record.texts["answer"])


def _records(run: Run) -> Iterator[tuple[str, Record, str]]:
    """The records of a run's input, as far as the run went, with their annotators."""
    files, columns = files_of(run)
    rows = ((piece, at, row) for file in files for piece in split_file(file) for at, row in read_split(piece))
    for piece, position, row in islice(rows, run.manifest.configuration.get("limit")):
        record = to_record(row, columns) if isinstance(row, dict) else row
        if isinstance(row, dict) and isinstance(record, Record):
            who = row.get(columns.get("annotator", "annotator"))
            yield row_id(piece.name, position), record, "-" if who is None else str(who)
