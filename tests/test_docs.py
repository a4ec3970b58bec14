"""What pages and docstrings say of this checkout is so: each file that they name is there."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
PAGES = [*TOP.glob("*.md"), *TOP.glob("docs/*.md"), *TOP.glob("bench/**/*.md"), *TOP.glob("coigw_judge/**/*.py")]
SOURCES = [*TOP.glob("bench/**/*.py"), *TOP.glob("tests/**/*.py"), *TOP.glob("jobs/*")]
FILES = [f"/{path.relative_to(TOP).as_posix()}" for top in TOP.iterdir() if top.is_dir() for path in top.rglob("*.py")]
NAMED = re.compile(r"(?<![\w/.*-])([\w/-]+\.py)\b(?!\.)")
ELSEWHERE = {"my_judge.py"}
"""Files that a reader would write."""


@pytest.mark.parametrize("page", [*PAGES, *SOURCES], ids=lambda path: path.relative_to(TOP).as_posix())
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = set(NAMED.findall(page.read_text(encoding="utf-8"))) - ELSEWHERE
    assert not {name for name in named if not any(path.endswith(f"/{name}") for path in FILES)}


def test_the_tree_in_the_readme_is_the_folders() -> None:
    tree = (TOP / "README.md").read_text(encoding="utf-8").split("\ncoigw_judge/\n")[1].split("\nrubrics/")[0]
    named = [name for line in tree.splitlines() for name in re.match(r"  ((?:\w+/ ?)+) ", line)[1].split()]
    assert sorted(named) == sorted(f"{path.parent.name}/" for path in TOP.glob("coigw_judge/*/__init__.py"))
