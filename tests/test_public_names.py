"""What `import coigw_judge` promises (CONTRACT, Python), and how little it costs."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import coigw_judge

TOP = Path(__file__).parents[1]


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_promised_names_are_there() -> None:
    promised = {"Gate", "Scored", "Unscored", "load_rubric", "parse_reply"}
    assert promised <= set(coigw_judge.__all__)
    assert all(hasattr(coigw_judge, name) for name in coigw_judge.__all__)
    assert sorted(coigw_judge.__all__, key=str.lower) == sorted(set(coigw_judge.__all__), key=str.lower)


def test_they_are_called_as_promised() -> None:
    assert list(inspect.signature(coigw_judge.parse_reply).parameters) == ["text", "rubric"]
    assert next(iter(inspect.signature(coigw_judge.load_rubric).parameters)) == "name_or_path"
    assert list(inspect.signature(coigw_judge.Gate(total=50, each=8).decide).parameters) == ["scores", "checks"]
    rubric = coigw_judge.load_rubric("answer")
    scored = coigw_judge.parse_reply('{"quality": {"score": 8}, "creativity": {"score": 9}}', rubric)
    assert isinstance(scored, coigw_judge.Scored)
    assert scored.scores == {"quality": 8, "creativity": 9}
    assert coigw_judge.Gate(total=17, each=8).decide(scored.scores).decision == "kept"
    nothing = coigw_judge.parse_reply("", rubric)
    assert isinstance(nothing, coigw_judge.Unscored)
    assert (nothing.cause, nothing.raw) == ("empty", "")


@pytest.mark.parametrize(
    "statement",
    [
        "import coigw_judge",
        "import coigw_judge.cli.main",
        "import coigw_judge.job.job, coigw_judge.store.parts, coigw_judge.select.verdicts, coigw_judge.fill.filler",
        "import coigw_judge.judges.engines, coigw_judge.judges.vllm.judge, coigw_judge.prompting.tokens",
    ],
)
def test_importing_costs_no_engine(statement: str) -> None:
    assert not loaded_by(statement) & {"ray", "vllm", "torch", "transformers", "tokenizers", "jieba"}
