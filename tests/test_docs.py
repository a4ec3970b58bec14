"""What pages and docstrings say of this checkout is so: each file that they name is there, and each folder is named."""

import re
from pathlib import Path

TOP = Path(__file__).parents[1]
TREES = [TOP / name for name in ("coigw_judge", "tests", "bench", "jobs", "docs")]
PAGES = [*TOP.glob("*.md"), *(path for top in TREES for path in top.rglob("*") if path.suffix in (".md", ".py", ".sh"))]
FILES = {f"/{path.relative_to(TOP).as_posix()}" for top in TREES for path in top.rglob("*.py")}
NAMED = re.compile(r"(?<![\w/.*-])([\w/-]+\.py)\b(?!\.)")
VLLM = {"config/model.py", "fused_moe/config.py", "models/qwen3_moe.py", "quantization/utils/fp8_utils.py"}
ELSEWHERE = {"my_judge.py", "log_monitor.py", *VLLM}
"""Files that a reader would write, Ray's and vLLM's own."""


def missing(text: str) -> set[str]:
    """Files of this checkout that a text names, by folder and name or by name, and that are not there."""
    return {name for name in set(NAMED.findall(text)) - ELSEWHERE if not any(f.endswith(f"/{name}") for f in FILES)}


def test_every_file_that_is_named_is_there() -> None:
    assert missing("see decide/gate.py and decide/gone.py") == {"decide/gone.py"}
    found = {path.relative_to(TOP).as_posix(): missing(path.read_text(encoding="utf-8")) for path in PAGES}
    found[Path(__file__).relative_to(TOP).as_posix()] -= {"decide/gone.py"}
    assert not {page: names for page, names in found.items() if names}


def test_the_tree_in_the_readme_is_the_folders() -> None:
    tree = (TOP / "README.md").read_text(encoding="utf-8").split("\ncoigw_judge/\n")[1].split("\nrubrics/")[0]
    named = [name for line in tree.splitlines() for name in re.match(r"  ((?:\w+/ ?)+) ", line)[1].split()]
    assert sorted(named) == sorted(f"{path.parent.name}/" for path in TOP.glob("coigw_judge/*/__init__.py"))
