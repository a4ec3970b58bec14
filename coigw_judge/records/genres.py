"""The taxonomy of genres: data/genres.yaml, and how a name found anywhere is recognised in it.

Names are compared folded (width, case, blanks and punctuation aside), so `Wuxia novels` and `武侠` are 武侠小说.
A genre that the taxonomy does not know keeps the name it has; nothing is guessed from parts of a name.
Poetry and Script are printed in the paper without genres: there the category is its own and only genre.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

OTHER = "其他"
"""The judge's answer where no genre of the taxonomy fits."""

_FILE = Path(__file__).parents[1] / "data" / "genres.yaml"
_MARKS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Category:
    """A category. Names are Chinese (`zh`) and, as the paper prints it, English (`en`)."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Genre:
    """A genre. `within` is the printed genre of which this is a finer name of ours; such a one has no English name."""

    zh: str
    en: str | None
    category: Category
    within: str | None = None

    @property
    def ladder(self) -> tuple[str, ...]:
        """The Chinese names of what it is, the narrowest first: 发疯文学, 搞笑亚文化, 搞笑文学."""
        return tuple(dict.fromkeys(name for name in (self.zh, self.within, self.category.zh) if name))


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """All genres in the paper's order, and every name, folded, with what it stands for."""

    categories: tuple[Category, ...]
    genres: tuple[Genre, ...]
    by_name: dict[str, Genre]
    category_names: dict[str, Category]


def canonical(name: str) -> Genre | None:
    """The genre of this name, in Chinese or English or by an alias; None where the taxonomy has none."""
    return taxonomy().by_name.get(_folded(name))


def category(name: str) -> Category | None:
    """The category of this name, or of the genre of this name."""
    known = taxonomy()
    found = canonical(name)
    return found.category if found else known.category_names.get(_folded(name))


def ladder(name: str) -> tuple[str, ...]:
    """The names under which something may be said of a genre, the narrowest first: its own, as given, and above."""
    found = canonical(name)
    above = category(name)
    names = found.ladder if found else (above.zh,) if above else ()
    return tuple(dict.fromkeys((name, *names)))


def standing_for(name: str) -> str:
    """The Chinese name of the genre or category that a name stands for; an unknown name as it is."""
    found = canonical(name) or category(name)
    return found.zh if found else name


def holds(names: Iterable[str], genre: str) -> bool:
    """Whether a genre is one of these genres, or within one of these categories; names of any kind."""
    wanted = {standing_for(name) for name in names}
    return not wanted.isdisjoint(ladder(genre))


def options() -> tuple[str, ...]:
    """What rubric `genre` offers: every genre, Poetry and Script as such, and 其他."""
    return (*(genre.zh for genre in taxonomy().genres), OTHER)


@cache
def taxonomy() -> Taxonomy:
    """The shipped taxonomy. Raises ValueError where a name stands for two things (a defect of the file)."""
    raw: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    categories, genres = [], []
    by_name: dict[str, Genre] = {}
    category_names: dict[str, Category] = {}
    for each in raw["categories"]:
        above = Category(each["zh"], each["en"])
        categories.append(above)
        names = (each["zh"], each["en"], *each.get("aliases", ()))
        _enter(category_names, above, names)
        if "genres" not in each:
            genres.append(Genre(above.zh, above.en, above))
            _enter(by_name, genres[-1], names)
        for entry in each.get("genres", ()):
            genres.append(Genre(entry["zh"], entry.get("en"), above, entry.get("within")))
            _enter(by_name, genres[-1], (entry["zh"], entry.get("en"), *entry.get("aliases", ())))
    return Taxonomy(tuple(categories), tuple(genres), by_name, category_names)


def _enter(names: dict[str, Any], meant: Genre | Category, own: Iterable[str | None]) -> None:
    for name in own:
        if name is not None and names.setdefault(_folded(name), meant) is not meant:
            raise ValueError(f"{_FILE.name}: {name} stands for two things")


def _folded(name: str) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFKC", name).casefold())
