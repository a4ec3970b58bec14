"""Mean lengths of the pieces of requests and of replies, from which the cost of any order of asks is added up.

Prompts are measured on sampled records: by the model's tokenizer where it can be had here, else in characters, scaled
by what the prompts of facts took in tokens. Replies are the means of facts. The common system text is left out: an
engine has it cached from the first record on. Whole blocks of the KV cache are not counted either; they make every ask
a bit dearer.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from coigw_judge.decide.plan import Plan
from coigw_judge.estimate.history import Spent
from coigw_judge.estimate.speed import Rates
from coigw_judge.job.job import LoadedJob
from coigw_judge.prompting.template import delimited
from coigw_judge.prompting.tokens import Encoder
from coigw_judge.records.record import FieldName, Record

_MEASURED = 400
"""How many records' texts are measured; more would change the mean little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean lengths by rubric, in `unit`."""

    shown: Mapping[str, Sequence[tuple[FieldName, float]]]
    """The rubric's fields, in the prompt's order."""
    tasks: Mapping[str, float]
    """The part of the prompt after the fields."""
    replies: Mapping[str, float] = field(default_factory=dict)
    """Empty where some rubric has no facts."""
    weight: float = 1.0
    """How many prefilled tokens take the time of a generated one."""
    unit: str = "tokens"
    """tokens, scaled (characters, scaled to tokens by facts) or characters."""
    weight_from: str = "assumed"
    """given or assumed."""
    replies_from: str = ""
    """facts, or empty."""

    def prefill(self, name: str, before: Collection[str] = ()) -> float:
        """Tokens that a rubric's request prefills after others: its fields beyond the shared prefix, and its task."""
        mine = self.shown[name]
        shared = max((_common(mine, self.shown[other]) for other in before), default=0)
        return self.tasks[name] + sum(length for _, length in mine[shared:])

    def cost(self, name: str, before: Collection[str] = ()) -> float:
        """The same with its reply, in prefilled tokens."""
        return self.prefill(name, before) + self.weight * self.replies.get(name, 0.0)


def _common(one: Sequence[tuple[FieldName, float]], other: Sequence[tuple[FieldName, float]]) -> int:
    """How many fields two prompts begin with alike."""
    alike = takewhile(lambda pair: pair[0][0] == pair[1][0], zip(one, other, strict=False))
    return sum(1 for _ in alike)


def measure(
    job: LoadedJob, records: Iterable[Record], spent: Mapping[str, Spent], rates: Rates, encoder: Encoder | None
) -> Lengths | None:
    """Mean lengths over sampled records, as they would be shown; None where there are none."""
    some = list(records)
    some = some[:: max(1, len(some) // _MEASURED)]
    count: Callable[[str], int] = len if encoder is None else encoder.count
    fields = {field for rubric in job.rubrics for field in rubric.fields}
    sizes = [{f: count(delimited(f, text)) for f, text in record.texts.items() if f in fields} for record in some]
    frame = len(encoder.frame_ids[2]) if encoder else 0
    shown, tasks, whole = {}, {}, {}
    for rubric in job.rubrics:
        of = [(size, record) for size, record in zip(sizes, some, strict=True) if size.keys() >= set(rubric.reads)]
        template = job.templates[rubric.name]
        shown[rubric.name] = [(f, _mean(size.get(f, 0) for size, _ in of)) for f in rubric.fields]
        asked = [template.task(Plan.guidance(rubric, record.genre)) for _, record in of]
        tasks[rubric.name] = frame + _mean(map(count, asked))
        whole[rubric.name] = count(template.system) + tasks[rubric.name] + sum(n for _, n in shown[rubric.name])
    if not some:
        return None
    unit, scale = ("tokens", 1.0) if encoder else _scaled(whole, spent)
    given = rates.given.prefill is not None and rates.given.decode is not None
    replies = {rubric.name: spent[rubric.name].generated for rubric in job.rubrics if rubric.name in spent}
    all_replies = len(replies) == len(job.rubrics)
    return Lengths(
        shown={name: [(f, n * scale) for f, n in fields_shown] for name, fields_shown in shown.items()},
        tasks={name: n * scale for name, n in tasks.items()},
        replies=replies if all_replies else {},
        weight=(rates.given.prefill or 1.0) / (rates.given.decode or 1.0) if given else 1.0,
        unit=unit,
        weight_from="given" if given else "assumed",
        replies_from="facts" if all_replies else "",
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0


def _scaled(chars: Mapping[str, float], spent: Mapping[str, Spent]) -> tuple[str, float]:
    """Tokens per character, by the facts' own prompts of these rubrics."""
    measured = [name for name in chars if name in spent and spent[name].prompt and chars[name]]
    if not measured:
        return "characters", 1.0
    taken = sum(spent[name].prompt / spent[name].tries for name in measured)
    return "scaled", taken / sum(chars[name] for name in measured)
