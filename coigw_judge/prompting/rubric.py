"""A rubric is a file: what the judge is asked about a record, and the shape of its answer.

Loaded from rubrics/*.yaml, checked on the way in, and never changed afterwards. The output schema is
generated from it, so an eleventh rubric needs no code. A rubric that gives nothing to answer, two items
of one name, or an anchor outside the scale is refused with the file, the key and the fix.
The prompt is worded in template.py; what a score is good for is the gate's.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from coigw_judge.errors import FixRubric, nearest
from coigw_judge.hashing import fingerprint
from coigw_judge.records import genres
from coigw_judge.records.record import FIELDS, FieldName

Reasons = Literal["none", "short", "full"]
REASON_CHARS: dict[Reasons, int] = {"none": 0, "short": 80, "full": 400}
"""The most characters a reason may have, per `reasons` setting of the job."""


def _identifier(key: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
        raise ValueError(f"{key!r} is not a key: use lower-case letters, digits and _")
    return key


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text.strip()


Key = Annotated[str, AfterValidator(_identifier)]
Text = Annotated[str, AfterValidator(_filled)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scale(_Strict):
    """The numbers a dimension may get: min, min + step, ..., max."""

    min: float = 0
    max: float = 10
    step: float = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _divides(self) -> "Scale":
        steps = (self.max - self.min) / self.step
        if self.max <= self.min or abs(steps - round(steps)) > 1e-9 or steps > 1000:
            raise ValueError("max must lie a whole number of steps above min")
        return self

    def values(self) -> list[float]:
        """Every score on the scale, ascending; whole numbers as int."""
        count = round((self.max - self.min) / self.step)
        found = [round(self.min + n * self.step, 6) for n in range(count + 1)]
        return [int(value) if value == int(value) else value for value in found]

    def holds(self, value: float) -> bool:
        """Whether `value` stands on the scale."""
        steps = (value - self.min) / self.step
        return self.min <= value <= self.max and abs(steps - round(steps)) < 1e-6


class Item(_Strict):
    """What every item of a rubric has: a key for machines and a title for people."""

    key: Key
    title: Text
    aliases: tuple[Text, ...] = ()
    """Other names by which a reply may call it."""


class Dimension(Item):
    """A quality scored on the rubric's scale."""

    criteria: dict[Text, Text] = Field(min_length=1)
    """What to look at, each with what is meant."""
    anchors: dict[float, Text] = Field(min_length=2)
    """Scores of the scale, each with what earns it."""


class Check(Item):
    """A yes/no question; true is good."""

    question: Text


class Choice(Item):
    """A question with a closed list of answers; `options: taxonomy` stands for the genres (genres.py)."""

    question: Text
    options: tuple[Text, ...] = Field(min_length=2)

    @field_validator("options", mode="before")
    @classmethod
    def _taxonomy(cls, value: object) -> object:
        return genres.options() if value == "taxonomy" else value


class Note(Item):
    """A question answered in words."""

    question: Text
    max_chars: int = Field(default=300, gt=0, le=4000)
    """The longest answer."""


class Rubric(_Strict):
    """One rubric: a file of rubrics/."""

    name: Key
    """Prefixes every score: `answer.quality`."""
    title: Text
    reads: tuple[FieldName, ...] = Field(min_length=1)
    """Fields that the judge sees; a record that lacks one is not asked."""
    reads_if_present: tuple[FieldName, ...] = ()
    """Fields that it sees where the record has them."""
    prompt: Text
    """A prompt file: its name in prompts/, or a path."""
    scale: Scale = Scale()
    """Of all its dimensions."""
    dimensions: tuple[Dimension, ...] = ()
    checks: tuple[Check, ...] = ()
    choices: tuple[Choice, ...] = ()
    notes: tuple[Note, ...] = ()
    by_genre: dict[Text, Text] = {}
    """Guidance that only records of a genre, or of a kind of it, are judged with."""
    path: str = Field(default="", exclude=True)
    """The file it was read from."""

    @model_validator(mode="after")
    def _consistent(self) -> "Rubric":
        if not self.items:
            raise ValueError("nothing to answer: give at least one of dimensions, checks, choices, notes")
        keys = [item.key for item in self.items]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"key used twice: {', '.join(twice)}")
        shown = self.reads + self.reads_if_present
        if len(set(shown)) != len(shown):
            raise ValueError("reads, reads_if_present: a field is named twice")
        for dimension in self.dimensions:
            off = [anchor for anchor in dimension.anchors if not self.scale.holds(anchor)]
            if off:
                raise ValueError(f"dimensions.{dimension.key}.anchors: {off[0]:g} is not on the scale")
        return self

    @property
    def items(self) -> tuple[Item, ...]:
        """All items in the order in which the judge answers them."""
        return (*self.dimensions, *self.checks, *self.choices, *self.notes)

    @property
    def fields(self) -> tuple[FieldName, ...]:
        """The fields shown, required and optional, in prompt order."""
        return tuple(f for f in FIELDS if f in self.reads or f in self.reads_if_present)

    def guidance(self, genre: str | None) -> str | None:
        """The extra guidance for a genre, else for what it is a kind of, up to its category; else None.

        Genres are recognised by any of their names, here and in `by_genre`; unknown ones by the name as given.
        """
        if genre is None or not self.by_genre:
            return None
        if genre in self.by_genre:
            return self.by_genre[genre]
        return next((self._guidance[name] for name in genres.ladder(genre) if name in self._guidance), None)

    @cached_property
    def _guidance(self) -> dict[str, str]:
        return {genres.standing_for(name): text for name, text in self.by_genre.items()}

    def fingerprint(self) -> str:
        """Hash of all that the rubric file says except `by_genre`, which each request's key carries itself."""
        return fingerprint(self.model_dump(mode="json", exclude={"path", "by_genre"}))

    def reply_schema(self, reasons: Reasons) -> dict[str, Any]:
        """The JSON schema of the judge's reply: each item's reason before its value."""
        properties: dict[str, Any] = {}
        for item in self.items:
            properties[item.key] = self._item_schema(item, reasons)
        return _closed_object(properties)

    def _item_schema(self, item: Item, reasons: Reasons) -> dict[str, Any]:
        match item:
            case Note():
                return {"type": "string", "maxLength": item.max_chars}
            case Dimension():
                name, value = "score", _one_of(self.scale.values())
            case Choice():
                name, value = "choice", _one_of(item.options)
            case _:
                name, value = "value", {"type": "boolean"}
        if reasons == "none":
            return value
        reason = {"type": "string", "maxLength": REASON_CHARS[reasons]}
        return _closed_object({"reason": reason, name: value})


def _one_of(values: Iterable[object]) -> dict[str, Any]:
    return {"enum": list(values)}


def _closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def builtin(folder: Literal["rubrics", "prompts"]) -> Path:
    """Where the shipped files live: inside the installed package, or at the top of a checkout."""
    installed = Path(__file__).parents[1] / "_data" / folder
    return installed if installed.is_dir() else Path(__file__).parents[2] / folder


def load_rubric(name_or_path: str | Path, relative_to: Path | None = None) -> Rubric:
    """Load a rubric by its name in rubrics/, or from a path.

    Raises FixRubric, naming the file and the key, where it is missing, unreadable or not a rubric.
    """
    path = find_file(str(name_or_path), "rubrics", ".yaml", relative_to)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FixRubric(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise FixRubric(f"{path}: a rubric is a mapping with the keys name, title, reads, prompt, ...")
    try:
        rubric = Rubric.model_validate(raw)
    except ValidationError as error:
        raise FixRubric(f"{path}: {explain(error, Rubric)}") from error
    prompt = rubric.prompt
    if prompt.endswith(".md") and not Path(prompt).is_absolute():
        prompt = str(path.parent / prompt)
    return rubric.model_copy(update={"path": str(path), "prompt": prompt})


def find_file(name: str, folder: Literal["rubrics", "prompts"], suffix: str, relative_to: Path | None = None) -> Path:
    """Resolve a bare name in the shipped folder, or a path (against `relative_to`). Raises FixRubric."""
    looks_like_path = name.endswith((suffix, ".yml")) or "/" in name
    if looks_like_path:
        path = Path(name) if relative_to is None else relative_to / name
    else:
        path = builtin(folder) / f"{name}{suffix}"
    if path.is_file():
        return path
    if looks_like_path:
        raise FixRubric(f"{path}: no such file in {folder}; give an existing path, or the bare name of a shipped one")
    known = sorted(p.stem for p in builtin(folder).glob(f"*{suffix}"))
    raise FixRubric(f"{name}: not in {folder}/{nearest(name, known)}; known: {', '.join(known)}; or give a path")


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a validation in one line: the key, what is wrong, and the nearest known key."""
    faults = error.errors()
    unknown = (fault for fault in faults if fault["type"] == "extra_forbidden")
    first = next(unknown, faults[0])  # a key misspelt is a key missing too; say the typo
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = known_keys(model, first["loc"][:-1])
        return f"{where}: unknown key{nearest(str(first['loc'][-1]), known)}; known here: {', '.join(known)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that `model` accepts at a location, following nested models."""
    current: type[BaseModel] = model
    for part in location:
        info = current.model_fields.get(str(part))
        if info is None:
            continue
        inner = _nested_model(info.annotation)
        if inner is not None:
            current = inner
    return [info.alias or name for name, info in current.model_fields.items() if not info.exclude]


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _nested_model(argument)
        if found is not None:
            return found
    return None
