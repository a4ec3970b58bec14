"""Tests keep to what is public and replace next to nothing: they would else hold the inside still, not what it does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MOST_REPLACED = 20

OTHERS = {"_ray_pkg_0", "_data", "_SUCCESS", "_total", "_exit"}
"""Private only by their looks: folders and files of other programs, a suffix of metrics, os._exit."""

SAMPLES = ("test_habits.py", "test_layers.py")
"""Hold private names as samples."""

OWN = ("self", "cls")
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(TESTS.rglob("*.py"))}


def is_private(name: str) -> bool:
    return len(name) > 1 and name[0] == "_" != name[1] and name not in OTHERS


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Where a file reaches for a private name of something else: an attribute (but of self or cls), an import, or a
    text that is a name, as setattr takes it."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in OWN):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [part for alias in node.names for part in (*(node.module or "").split("."), alias.name)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
            names = node.value.split(".")[-1:] if node.value.startswith(("coigw_judge.", "_")) else []
        yield from ((node.lineno, name) for name in names if is_private(name))


def replaced(tree: ast.AST) -> list[int]:
    """The lines on which something is replaced for a test."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if isinstance(call, ast.Attribute) and call.attr in ("setattr", "delattr")]


@pytest.mark.parametrize(
    "path", [path for path in TREES if path.name not in SAMPLES], ids=lambda path: str(path.relative_to(TESTS))
)
def test_a_test_reaches_for_no_private_name(path: Path) -> None:
    assert not [f"{path.name}:{line}: {name}" for line, name in private_names(TREES[path])]


def test_hardly_anything_is_replaced() -> None:
    lines = [f"{path.relative_to(TESTS)}:{line}" for path, tree in TREES.items() for line in replaced(tree)]
    assert len(lines) < MOST_REPLACED, "\n".join(lines)


def test_these_checks_see_what_they_should() -> None:
    source = """
from coigw_judge.store import _inside
from coigw_judge.store.compaction import compact, _merge
self._mine = compact.__doc__
other._theirs()
patch.setattr(compact, "_sizes", 3)
patch.setattr("coigw_judge.store.compaction._sizes", 3)
"""
    tree = ast.parse(source)
    assert sorted(name for _, name in private_names(tree)) == ["_inside", "_merge", "_sizes", "_sizes", "_theirs"]
    assert len(replaced(tree)) == 2


PACKAGE = TESTS.parent / "coigw_judge"
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def test_files_and_functions_are_short() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert not [path.name for path, source in sources.items() if source.count("\n") > LONGEST_FILE]
    functions = [
        (path.name, node.name, node.end_lineno - node.lineno + 1)
        for path, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert len(functions) > 1000
    assert not [found for found in functions if found[2] > LONGEST_FUNCTION]
