"""Imports go down, room by room, as docs/architecture.md draws them."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "coigw_judge"

# From the bottom up: a room imports from those before it. Inside a room there are no cycles.
ROOMS = (
    *("errors", "hashing", "logs", "counts", "text", "storage", "records"),  # the ground
    *("input", "prompting", "screens", "replies", "judges", "decide"),  # one record
    *("store", "job"),
    *("run_folder", "diff", "people", "report"),  # readers of a run folder
    *("scan", "standing", "fill", "select", "pipeline"),  # the passes
    *("estimate", "run"),
    *("cli", "__main__"),
)
FACADE = "__init__"
"""The public names. It stands above all, and nothing imports from it."""

READERS = {"run_folder", "diff", "people", "report"}
PASSES = {"scan", "standing", "fill", "select", "pipeline", "estimate", "run"}

OWNERS = {"ray": "pipeline", "vllm": "judges.vllm"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "_data" not in path.parts}


def imports(source: str, *, deferred: bool) -> set[str]:
    """Dotted names that a module imports, those inside functions or under TYPE_CHECKING only if `deferred`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if later and not deferred:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def own(name: str) -> str | None:
    """Which module of this package an imported name belongs to: the longest that exists, else the facade."""
    top, *parts = name.split(".")
    if top != PACKAGE.name:
        return None
    return next((m for n in range(len(parts), 0, -1) if (m := ".".join(parts[:n])) in MODULES), FACADE)


def of(module: str, *, deferred: bool) -> set[str]:
    """The package's modules that a module imports."""
    names = imports(MODULES[module].read_text(encoding="utf-8"), deferred=deferred)
    return {found for name in names if (found := own(name))} - {module}


def room(module: str) -> str:
    return module.partition(".")[0]


def private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def test_every_room_has_its_place_and_every_place_its_room() -> None:
    assert sorted(ROOMS) == sorted({room(module) for module in MODULES} - {FACADE})


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {FACADE}))
def test_imports_go_down_only(module: str) -> None:
    below = ROOMS[: ROOMS.index(room(module)) + 1]
    assert not {name for name in of(module, deferred=True) if room(name) not in below}


def test_readers_of_a_run_know_nothing_of_its_passes() -> None:
    graph = {module: of(module, deferred=True) for module in MODULES}
    seen, waiting = set(), [module for module in MODULES if room(module) in READERS]
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting += graph[module] - seen
    assert not {module for module in seen if room(module) in PASSES}, "not even by way of another room"


def test_no_cycle_when_modules_are_loaded() -> None:
    TopologicalSorter({module: of(module, deferred=False) for module in MODULES}).prepare()


def test_no_cycle_through_functions_either() -> None:
    TopologicalSorter({module: of(module, deferred=True) for module in MODULES}).prepare()


@pytest.mark.parametrize(("library", "owner"), OWNERS.items())
def test_a_library_is_imported_in_its_room_alone(library: str, owner: str) -> None:
    importers = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == library for name in imports(path.read_text(encoding="utf-8"), deferred=True))
    }
    assert importers and all(module == owner or module.startswith(f"{owner}.") for module in importers)


def test_vllm_is_not_imported_when_its_room_is() -> None:
    for module in (module for module in MODULES if module.startswith("judges.vllm")):
        names = imports(MODULES[module].read_text(encoding="utf-8"), deferred=False)
        assert not any(name.partition(".")[0] in ("vllm", "torch", "transformers") for name in names)


@pytest.mark.parametrize("module", MODULES)
def test_a_private_name_stays_in_its_room(module: str) -> None:
    names = imports(MODULES[module].read_text(encoding="utf-8"), deferred=True)
    assert not {name for name in names if (there := own(name)) and private(name) and room(there) != room(module)}


def test_the_reader_of_imports_sees_what_it_should() -> None:
    source = (
        "import ray.data\nif TYPE_CHECKING:\n import vllm\ndef f():\n from coigw_judge.run import state, stages as s\n"
    )
    assert imports(source, deferred=False) == {"ray.data"}
    assert imports(source, deferred=True) == {"ray.data", "vllm", "coigw_judge.run.state", "coigw_judge.run.stages"}
    assert own("coigw_judge.judges.vllm.judge.VllmJudge") == "judges.vllm.judge"
    assert (own("coigw_judge.Gate"), own("os.path")) == (FACADE, None)
    assert private("coigw_judge.replies.outcome._CAUSE") and not private("coigw_judge.cli.__main__")
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
