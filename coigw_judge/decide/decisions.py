"""The eight decisions that a row may end as."""

from typing import Literal

Decided = Literal["kept", "dropped", "review", "pending", "unscored", "screened", "duplicate", "unreadable"]


DECISIONS: tuple[Decided, ...] = (
    "kept", "review", "dropped", "unscored", "pending", "screened", "duplicate", "unreadable",
)  # fmt: skip

WITHOUT_GATE: tuple[Decided, ...] = ("screened", "duplicate", "unreadable")
"""Those that no gate made."""
