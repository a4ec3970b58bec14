"""docs/writing-a-rubric.md: the files that it shows are sound, so whoever types them in gets no error."""

import re
from pathlib import Path

import pytest

from coigw_judge.cli.main import main
from coigw_judge.job.job import load_job

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "writing-a-rubric.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`my/([a-z.]+)`\n\n```(?:yaml|markdown)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    assert sorted(FILES) == ["dialogue.md", "dialogue.yaml", "job.yaml"]
    (tmp_path / "my").mkdir()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name, text in FILES.items():
        (tmp_path / "my" / name).write_text(text, encoding="utf-8")
    return tmp_path / "my" / "job.yaml"


def test_the_page_s_files_load_and_its_gate_can_be_passed_and_failed(job):
    loaded = load_job(job)
    (rubric,) = loaded.rubrics
    assert rubric.guidance("话剧剧本") is None and rubric.guidance("剧本")
    assert loaded.gate.decide({"dialogue.voice": 8}, {"dialogue.present": True}).decision == "kept"
    assert loaded.gate.decide({"dialogue.voice": 7}, {"dialogue.present": True}).decision == "dropped"


def test_its_prompt_is_shown_by_plan(job, capsys):
    assert main(["plan", str(job), "--prompts", "1"]) == 0
    told = capsys.readouterr().out
    assert "只评人物说出口的话" in told and "遮去名字，听得出谁在说" in told
