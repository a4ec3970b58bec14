"""The layout `panel`: every rubric in the common system text, and what that does to requests, keys and tokens."""

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from coigw_judge.job.fingerprints import ask_fingerprint
from coigw_judge.job.job import Job, LoadedJob, load_job
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import engine_of
from coigw_judge.judges.protocol import Identity
from coigw_judge.judges.vllm.engine import VllmEngine
from coigw_judge.judges.vllm.prefix_cache import PrefixCache
from coigw_judge.prompting.template import PANEL, describe

ROOT = Path(__file__).parents[2]
RUBRICS = ["answer", "query", "thought"]
TEXTS = {
    "answer": "雨停了，巷口的修表匠把灯拧亮。" * 20,
    "query": "用一件旧物写等待。",
    "thought": "先想旧物，再想人。" * 8,
}
SOMEBODY = Identity(engine="x", model="x", revision=None, fingerprint="f")


def job(folder: Path, layout: str | None = "panel", rubrics: list[str] | None = None, **more: object) -> LoadedJob:
    raw = {"name": "p", "input": {"paths": ["none.jsonl"]}, "rubrics": rubrics or RUBRICS, **more}
    raw |= {"judge": {"model": "embedded"}} | ({"layout": layout} if layout else {})
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    return load_job(path)


def test_all_requests_share_one_system_text_that_holds_every_rubric_once(tmp_path):
    loaded = job(tmp_path, then=["answer_analysis"])
    systems = {template.system for template in loaded.templates.values()}
    assert len(systems) == 1
    system = systems.pop()
    for rubric in loaded.all_rubrics:
        assert system.count(describe(rubric)) == 1
        assert system.index(PANEL) < system.index(f"《评审表 {rubric.name} ") < system.index(describe(rubric))


def test_behind_the_record_stands_a_pointer_and_the_guidance_of_its_genre(tmp_path):
    loaded = job(tmp_path)
    for rubric in loaded.rubrics:
        prompt = loaded.templates[rubric.name].render(TEXTS, "诗只看声音。")
        assert f"《评审表 {rubric.name} {rubric.title}》" in prompt.task and "体裁提示：诗只看声音。" in prompt.task
        assert describe(rubric) not in prompt.task and len(prompt.task) < 80
        others = [other.name for other in loaded.rubrics if other is not rubric]
        assert not any(f"评审表 {name} " in prompt.task for name in others)


def test_another_order_of_asks_changes_no_request(tmp_path):
    there, back = job(tmp_path), job(tmp_path, rubrics=RUBRICS[::-1])
    for rubric in there.rubrics:
        assert ask_fingerprint(there, rubric, SOMEBODY) == ask_fingerprint(back, rubric, SOMEBODY)


@pytest.mark.parametrize(("layout", "changed"), [("panel", set(RUBRICS)), ("isolated", {"query"})])
def test_who_edits_one_rubric_asks_all_of_a_panel_and_else_that_one_again(tmp_path, layout, changed):
    (tmp_path / "query.yaml").write_text(
        (ROOT / "rubrics" / "query.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    before = job(tmp_path, layout, rubrics=["answer", "query.yaml", "thought"])
    text = (tmp_path / "query.yaml").read_text(encoding="utf-8")
    (tmp_path / "query.yaml").write_text(text.replace("10: ", "10: 尤其", 1), encoding="utf-8")
    after = job(tmp_path, layout, rubrics=["answer", "query.yaml", "thought"])
    found = {
        old.name
        for old, new in zip(before.rubrics, after.rubrics, strict=True)
        if ask_fingerprint(before, old, SOMEBODY) != ask_fingerprint(after, new, SOMEBODY)
    }
    assert found == changed


def test_isolated_is_the_default_and_keeps_its_keys(tmp_path):
    stated, silent = job(tmp_path, "isolated"), job(tmp_path, None)
    for rubric in stated.rubrics:
        assert ask_fingerprint(stated, rubric, SOMEBODY) == ask_fingerprint(silent, rubric, SOMEBODY)
        assert ask_fingerprint(job(tmp_path), rubric, SOMEBODY) != ask_fingerprint(silent, rubric, SOMEBODY)


def test_an_unknown_layout_is_refused(tmp_path):
    raw = {
        "name": "p",
        "input": {"paths": ["x"]},
        "rubrics": ["answer"],
        "judge": {"model": "embedded"},
        "layout": "joint",
    }
    with pytest.raises(ValidationError, match="isolated"):
        Job.model_validate(raw)


def test_a_panel_prefills_less_of_every_record_but_the_first(tmp_path):
    """By the embedded judge's own tokenizer; the second record finds the common system text in the cache."""
    encoder = VllmEngine(JudgeConfig(model="embedded")).encoder()
    prefilled = {}
    for layout in ("isolated", "panel"):
        cache, loaded = PrefixCache(32), job(tmp_path, layout)
        for start in ("甲", "乙"):
            texts = {field: start + text for field, text in TEXTS.items()}
            asked = [encoder.encode(loaded.templates[name].render(texts, None)) for name in RUBRICS]
            prefilled[layout] = sum(len(ids) - cache.ask(ids) for ids in asked)
    assert prefilled["panel"] < 0.6 * prefilled["isolated"]


def test_the_judge_of_a_panel_is_the_same_judge(tmp_path):
    assert (
        engine_of(job(tmp_path).config.judge).identify() == engine_of(job(tmp_path, "isolated").config.judge).identify()
    )


def test_each_longer_request_of_a_panel_extends_a_shorter_one(tmp_path):
    """The prefix that a record's requests share grows with the fields, whatever the rubric."""
    loaded = job(tmp_path)
    prompts = [loaded.templates[name].render(TEXTS, None) for name in RUBRICS]
    for before, after in pairwise(sorted(prompts, key=lambda prompt: len(prompt.fields))):
        assert after.fields[: len(before.fields)] == before.fields and after.system == before.system


def test_prompts_are_read_from_the_checkout(tmp_path):
    """A rubric of the user's own may stand in a panel too."""
    shutil.copy(ROOT / "rubrics" / "thought.yaml", tmp_path / "mine.yaml")
    assert "《评审表 thought " in job(tmp_path, rubrics=["answer", "mine.yaml"]).templates["answer"].system
