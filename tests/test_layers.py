"""Imports go down only. The drawing is DESIGN.md's, completed for every module that exists."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "coigw_judge"

# From the bottom up. A module imports from its own group, without cycles, or from those before it.
GROUPS = (
    {
        *("addresses", "errors", "hashing", "s3", "paths", "spans", "index", "genres", "rubric", "record", "codepoints"),
        *("encoding", "files", "text_rows", "parquet_rows", "source"),
        *("injection", "injection_rules", "injection_chinese", "injection_english", "injection_view", "injection_sieve"),
    },
    {"prompt", "ask", "tokens", "reply", "reply_items", "reply_prose", "reply_scan", "headtail"},
    {
        *("gate", "card", "samples", "plan", "order"),
        *("screens", "screens.characters", "screens.config", "screens.dates", "screens.diversity", "screens.encoding"),
        *("screens.engagement", "screens.lines", "screens.repetition", "screens.sketch"),
    },
    {
        *("judge_config", "job", "logs", "ledger", "facts", "store", "writer", "known", "compaction", "scan", "asks", "fill"),
        *("screened", "links", "recipe", "self_test"),
        *("upkeep", "bucket", "in_full", "survey", "verdict", "verdict_counts", "sweep", "written", "manifest", "progress"),
        *("judges", "judges.embedded", "judges.model_files", "judges.presets", "judges.vllm", "judges.watched"),
        *("judges.layout", "judges.cores", "judges.ranks", "judges.prefixes"),
        *("expected", "judges.spelling", "judges.token_scores"),
        *("judges.endpoint", "judges.servers", "judges.rates", "judges.probes"),
        *("judges.chat", "judges.completion", "judges.control"),
    },
    {
        *("pipeline", "pipeline.cluster", "pipeline.passes", "pipeline.board", "pipeline.judging", "pipeline.filling"),
        *("pipeline.sharing", "pipeline.room", "pipeline.metrics"),
        *("runs", "dryrun", "earlier", "checks", "show", "complaints"),
        *("estimate", "estimate.make", "estimate.disk", "estimate.facts", "estimate.figures", "estimate.sample"),
        *("estimate.states", "estimate.text", "estimate.time", "estimate.tokens"),
        *("estimate.lengths", "estimate.order", "estimate.ordering"),
        *("diff", "diff_report", "diff_rows", "diff_tally", "diff_text", "verdict_rows", "picked"),
        *("report", "report.shape", "report.tally", "report.examples", "report.figures", "report.page"),
        *("report.plots", "report.tables", "report.against_people", "report.drift_and_leaks", "report.diversity"),
        *("terminal", "explained", "people", "people.labels", "people.labelled", "people.agreement", "people.alpha"),
        *("people.calibrate", "people.calibrate_gate", "people.calibrate_text", "people.calibrate_view", "people.regate"),
        *("people.calibrate_read", "people.drift_and_leaks"),
        *("people.chosen", "people.label_studio", "people.export", "people.drift", "people.leaks", "people.annotators"),
    },
    {"cli", "cli_people", "front"},
)
FACADE = "__init__"
"""The public names. It stands above all, and nothing imports from it."""

FRONT_DOORS = {"judges": {"judges.endpoint", "judges.completion", "judges.vllm", "judges.watched"}}
"""Who may import, inside a function, what imports it: the judges' room opens its engines only when one is wanted."""

ROOMS = {"ray": "pipeline", "vllm": "judges.vllm"}


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


def own(names: set[str]) -> set[str]:
    """Which modules of this package the imported names belong to: the longest that exists, else the facade."""
    found = set()
    for name in names:
        if name.partition(".")[0] != PACKAGE.name:
            continue
        parts = name.split(".")[1:]
        known = [".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in MODULES]
        found.add(known[0] if known else FACADE)
    return found


def of(module: str, *, deferred: bool) -> set[str]:
    return own(imports(MODULES[module].read_text(encoding="utf-8"), deferred=deferred)) - {module}


def level(module: str) -> int:
    return next((n for n, group in enumerate(GROUPS) if module in group), -1)


def test_every_module_stands_in_exactly_one_group() -> None:
    placed = [module for group in GROUPS for module in group]
    assert sorted(placed) == sorted(MODULES.keys() - {FACADE})


@pytest.mark.parametrize("module", MODULES.keys() - {FACADE})
def test_imports_go_down_only(module: str) -> None:
    upward = {name for name in of(module, deferred=True) if name == FACADE or level(name) > level(module)}
    assert not upward


def test_no_cycle_when_modules_are_loaded() -> None:
    TopologicalSorter({module: of(module, deferred=False) for module in MODULES}).prepare()


def test_no_cycle_through_functions_but_at_the_front_doors() -> None:
    graph = {module: of(module, deferred=True) - FRONT_DOORS.get(module, set()) for module in MODULES}
    TopologicalSorter(graph).prepare()
    for door, behind in FRONT_DOORS.items():
        assert not of(door, deferred=False) & behind, "a front door opens inside a function"
        assert all(door in of(module, deferred=False) for module in behind), "this exception is no longer needed"


@pytest.mark.parametrize(("library", "room"), ROOMS.items())
def test_a_library_is_imported_in_its_room_alone(library: str, room: str) -> None:
    importers = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == library for name in imports(path.read_text(encoding="utf-8"), deferred=True))
    }
    assert importers and all(module == room or module.startswith(f"{room}.") for module in importers)


def test_vllm_is_not_imported_when_its_room_is() -> None:
    names = imports(MODULES["judges.vllm"].read_text(encoding="utf-8"), deferred=False)
    assert not any(name.partition(".")[0] in ("vllm", "torch", "transformers") for name in names)


def test_the_reader_of_imports_sees_what_it_should() -> None:
    source = "import ray.data\nif TYPE_CHECKING:\n import vllm\ndef f():\n from coigw_judge import runs, store as s\n"
    assert imports(source, deferred=False) == {"ray.data"}
    assert imports(source, deferred=True) == {"ray.data", "vllm", "coigw_judge.runs", "coigw_judge.store"}
    assert own({"coigw_judge.judges.vllm.on_cpu", "coigw_judge.Gate", "os.path"}) == {"judges.vllm", FACADE}
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
