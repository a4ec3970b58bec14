"""Counts with named fields that add up: over buckets, over processes, over rounds.

A set of counts is a small model whose fields are numbers, maps of numbers, or further counts. `+` and `-` go field by
field, so a new count is one new field; a misspelt one is a type error. They cross to other processes pickled, and stand
in manifest.json as their JSON. Keys that another version wrote there are kept and added to nothing.
"""

import operator
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer

Key = TypeVar("Key")

Named = Annotated[Counter[Key], PlainSerializer(lambda counts: {key: n for key, n in sorted(counts.items()) if n})]
"""Counts by a name that is known only when it is met: in JSON sorted, and without zeros."""


class Counts(BaseModel):
    """Counts of one piece of work, each with a default of nothing."""

    model_config = ConfigDict(extra="allow")

    def __add__(self, other: Self) -> Self:
        """Both together."""
        return _combined(self, other, operator.add)

    def __sub__(self, other: Self) -> Self:
        """What has been counted since `other`."""
        return _combined(self, other, operator.sub)


Value = TypeVar("Value")


def _combined(a: Value, b: Value, combine: Callable[[Any, Any], Any]) -> Value:
    together: Any
    if isinstance(a, Counts):
        fields = {name: _combined(getattr(a, name), getattr(b, name), combine) for name in type(a).model_fields}
        together = a.model_copy(update=fields)
    elif isinstance(a, Counter) and not b:
        together = a.copy()
    elif isinstance(a, dict) and isinstance(b, dict):
        nothing = {key: type(value)() for key, value in (*a.items(), *b.items())}
        summed = {key: _combined(a.get(key, zero), b.get(key, zero), combine) for key, zero in nothing.items()}
        together = type(a)(summed)
    else:
        together = combine(a, b)
    return together  # type: ignore[no-any-return]
