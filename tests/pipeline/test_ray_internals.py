"""A Ray that has moved what it never promised to keep: each such name hidden in turn, and a small fill."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hidden_names import hidden
from test_layers import MODULES, OWNERS

from coigw_judge.cli.main import main
from coigw_judge.pipeline.ray_internals import stop_log_monitor
from coigw_judge.store.parts import Store

TESTS = Path(__file__).parents[1]
WORKER = "ray._private.worker"
EXECUTOR = "ray.data._internal.execution.streaming_executor_state"
OF_A_FILL = [
    WORKER,
    f"{WORKER}:_worker_logs_enabled",
    EXECUTOR,
    f"{EXECUTOR}:WAIT_FOR_TASK_COMPLETION_TIMEOUT_S",
    f"{EXECUTOR}:time",
]
OF_A_START = [f"{WORKER}:_global_node", "ray._private.node:Node.kill_log_monitor"]
ROWS = [{"answer": f"雨{n}", "query": f"写雨{n}"} for n in range(3)]


@pytest.mark.parametrize("name", OF_A_FILL)
def test_a_fill_goes_without(name: str, tmp_path: Path, write_job: Callable[..., Path], ray_cluster: None) -> None:
    job = write_job(ROWS, rubrics=["answer"], gate={"each": 8})
    with hidden(name) as asked:
        assert main(["run", str(job)]) == 0
    assert asked, "the package asks for it"
    assert Store(str(tmp_path / "facts")).read().num_rows == len(ROWS)


@pytest.mark.parametrize("name", [WORKER, *OF_A_START])
def test_a_log_monitor_that_cannot_be_ended_stays(name: str, ray_cluster: None) -> None:
    with hidden(name) as asked:
        stop_log_monitor()
    assert asked, "the package asks for it"


@pytest.mark.slow
def test_a_local_cluster_starts_without(tmp_path: Path, write_job: Callable[..., Path]) -> None:
    job = write_job(ROWS, rubrics=["answer"], gate={"each": 8})
    call = [sys.executable, str(TESTS / "fill_without.py"), str(job), str(tmp_path), *OF_A_START]
    done = subprocess.run(call, capture_output=True, text=True, timeout=400, cwd=TESTS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(found) == len(OF_A_START)
    for n, (status, asked) in enumerate(found):
        assert status == 0 and asked, (OF_A_START[n], done.stderr[-3000:])
        assert Store(str(tmp_path / str(n) / "facts")).read().num_rows == len(ROWS)


def private_names(source: str) -> set[str]:
    """What a module names of Ray and vLLM that begins with an underscore, or lies below `vllm.v1`."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            words.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            words.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            words.add(ast.unparse(node))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.replace(".", "").isidentifier()
        ):
            words.add(node.value)
    return {
        word
        for word in words
        if word.partition(".")[0] in OWNERS
        and (any(part.startswith("_") for part in word.split(".")) or word.startswith("vllm.v1"))
    }


def test_such_names_stand_in_one_module() -> None:
    found = {module: names for module, path in MODULES.items() if (names := private_names(path.read_text("utf-8")))}
    assert found == {"pipeline.ray_internals": {WORKER, EXECUTOR}}
    assert private_names("import vllm.v1.engine\nray._private.worker.x = 1\nfrom ray.data import _internal") == {
        "vllm.v1.engine",
        "ray._private.worker.x",
        "ray._private.worker",
        "ray._private",
        "ray.data._internal",
    }
