"""A job file: what it means, and the one line that a mistake in it gets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.errors import CoigwError, FixJob, FixRubric
from coigw_judge.job.job import EarlyExit, LoadedJob, load_job
from coigw_judge.judges.presets import preset_for, sampling, template_arguments, tensor_parallel

BASE: dict[str, Any] = {
    "name": "test",
    "input": {"paths": ["rows.jsonl"]},
    "rubrics": ["coherence", "answer", "query", "thought"],
    "gate": {"over": ["answer", "query", "thought"], "total": 50, "each": 8},
    "judge": {"engine": "vllm", "model": "embedded"},
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadedJob]:
    """Load the base job with `--set` overrides; keywords replace keys of the file."""

    def made(*overrides: str, **keys: Any) -> LoadedJob:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({**BASE, **keys}, allow_unicode=True), encoding="utf-8")
        return load_job(path, overrides)

    return made


def test_a_record_that_addresses_the_judge_is_flagged_unless_the_job_drops_it(load: Callable[..., LoadedJob]) -> None:
    assert load().config.screen.injection == "flag"
    assert load("screen.injection=drop").config.screen.injection == "drop"
    with pytest.raises(FixJob, match="injection"):
        load("screen.injection=ignore")


def test_a_job_is_read_with_its_rubrics_prompts_and_gate(load: Callable[..., LoadedJob], tmp_path: Path) -> None:
    job = load(then=["answer_analysis"])
    assert [rubric.name for rubric in job.rubrics] == BASE["rubrics"]
    assert [rubric.name for rubric in job.all_rubrics] == [*BASE["rubrics"], "answer_analysis"]
    assert job.templates.keys() == {rubric.name for rubric in job.all_rubrics}
    six = [f"{rubric}.{key}" for rubric in ("answer", "query", "thought") for key in ("quality", "creativity")]
    assert job.gate.over == tuple(six)
    assert job.gate.tops == dict.fromkeys(six, 10)
    assert (job.gate.total, job.gate.each, job.gate.require) == (50, 8, ())
    assert (job.base, job.path) == (tmp_path, tmp_path / "job.yaml")


def test_what_a_job_leaves_out_is_as_documented(load: Callable[..., LoadedJob], tmp_path: Path) -> None:
    job = load(gate={})
    assert len(job.gate.over or ()) == 6
    assert job.gate.decide(dict.fromkeys(job.gate.over, 0)).decision == "kept"
    config = job.config
    assert (config.reasons, config.long_text, config.early_exit, config.max_unscored) == ("short", "reject", True, 0.01)
    assert (config.order, config.samples.exhaustive, config.samples.repeat) == ("listed", 0.01, 0.0)
    assert config.write == ["kept", "review"]
    assert (job.store, job.out) == (str(tmp_path / "facts"), str(tmp_path / "runs"))


def test_paths_are_relative_to_the_job_file(
    load: Callable[..., LoadedJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    load(store="../facts/", out="s3://bucket/runs")
    job = load_job(tmp_path / "job.yaml")
    assert job.store == str(tmp_path.parent / "facts")
    assert job.out == "s3://bucket/runs"
    assert job.base == tmp_path


def test_paths_of_the_command_line_are_relative_to_where_it_runs(
    load: Callable[..., LoadedJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    job = load_job(
        tmp_path / "job.yaml", store="facts", out="file:///runs", input_paths=["x.jsonl", "s3://b/*.parquet"], limit=3
    )
    assert (job.store, job.out) == (str(tmp_path / "here" / "facts"), "file:///runs")
    assert job.config.input.paths == [str(tmp_path / "here" / "x.jsonl"), "s3://b/*.parquet"]
    assert job.config.limit == 3
    assert load_job(tmp_path / "job.yaml", store=None, limit=None).config.limit is None


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("gate.total=48.5", lambda job: job.gate.total == 48.5),
        ("gate.total=null", lambda job: job.gate.total is None),
        ("gate.review={total: 2, each: 1}", lambda job: (job.gate.review_total, job.gate.review_each) == (2, 1)),
        ("gate.review.each=1.5", lambda job: job.gate.review_each == 1.5),
        ("rubrics=[answer, query, thought]", lambda job: len(job.rubrics) == 3),
        ("input.columns.answer=content", lambda job: job.config.input.columns == {"answer": "content"}),
        ("input.paths=one.jsonl", lambda job: job.config.input.paths == ["one.jsonl"]),
        ("judge.engine_args.max_num_seqs=7", lambda job: job.config.judge.engine_args == {"max_num_seqs": 7}),
        ("judge.replicas=[1, 4]", lambda job: job.config.judge.replicas == (1, 4)),
        ("early_exit=false", lambda job: job.config.early_exit is False),
        ("early_exit.floor=6", lambda job: job.config.early_exit == EarlyExit(floor=6)),
        ("name=a=b.c", None),
        ("write=[all]", lambda job: job.config.write == ["all"]),
    ],
)
def test_set_replaces_any_key(load: Callable[..., LoadedJob], override: str, value: Callable[..., bool] | None) -> None:
    if value is None:
        with pytest.raises(FixJob, match="name: String should match pattern"):
            load(override)
    else:
        assert value(load(override))


def test_a_later_override_goes_before_an_earlier_and_the_file_stays(
    load: Callable[..., LoadedJob], tmp_path: Path
) -> None:
    assert load("gate.total=1", "gate.total=2").gate.total == 2
    assert load_job(tmp_path / "job.yaml").gate.total == 50


ONE_LINE: dict[str, tuple[str, str]] = {
    "an unknown key": ("rubrix=[answer]", "rubrix: unknown key (did you mean rubrics?); known here: name, input, "),
    "an unknown key below": ("judge.modle=x", "judge.modle: unknown key (did you mean model?)"),
    "an unknown key two below": ("gate.review.totl=1", "gate.review.totl: unknown key (did you mean total?)"),
    "an unknown key like none": ("zzz=1", "zzz: unknown key; known here: "),
    "a field of ours that is none": ("input.columns.anser=x", "anser is none of our fields (did you mean answer?)"),
    "a rubric that is none": ("rubrics=[anwser]", "anwser: not in rubrics/ (did you mean answer?)"),
    "a rubric named twice": ("rubrics=[answer, answer]", "rubrics, then: answer is named twice"),
    "a rubric in then again": ("then=[answer]", "rubrics, then: answer is named twice"),
    "no rubric": ("rubrics=[]", "rubrics: "),
    "over what is not asked": ("gate.over=[answr]", "gate.over: answr is not asked by this job (did you mean answer?)"),
    "over a dimension that is none": (
        "gate.over=[answer.qualty]",
        "(did you mean answer.quality?); known: answer.quality, ",
    ),
    "over half a name": ("gate.over=[answer.qual]", "gate.over: answer.qual is not asked by this job"),
    "require a dimension": ("gate.require=[answer.quality]", "gate.require: answer.quality is not asked by this job"),
    "require what is not asked": ("gate.require=[coherence.opn]", "(did you mean coherence.open?)"),
    "each of what does not count": (
        "gate={over: [answer], each: {query.quality: 8}}",
        "gate.each: query.quality is not",
    ),
    "a total over the top": ("gate.total=61", "gate: no record can pass it: with the highest scores, total 60 < 61"),
    "an each over the top": ("gate.each=10.5", "with the highest scores, answer.quality 10 < 10.5; lower it"),
    "a gate over nothing": ("rubrics=[coherence]", "gate.over: answer is not asked by this job; known: none"),
    "no engine": ("judge.engine=vlm", "judge: engine: 'vlm' is none of vllm, endpoint, package.module:Class"),
    "no model": ("judge.model=", "judge"),
    "an endpoint without its server": ("judge.engine=endpoint", "judge: base_url belongs to `engine: endpoint`"),
    "a server without an endpoint": ("judge.base_url=http://a/v1", "judge: base_url belongs to `engine: endpoint`"),
    "engine_args of an endpoint": (
        "judge={engine: endpoint, base_url: http://a/v1, model: m, engine_args: {a: 1}}",
        "judge: engine_args are vLLM's; an endpoint takes extra_body",
    ),
    "a context where the engine has one": ("judge.context=8192", "for vLLM say engine_args.max_model_len"),
    "fewer than one replica": ("judge.replicas=0", "judge.replicas: give a number of at least 1, or [least, most]"),
    "replicas the wrong way round": ("judge.replicas=[4, 1]", "judge.replicas: give a number of at least 1"),
    "a threshold that is no number": ("gate.total=.nan", "gate.total: Input should be a finite number"),
    "a limit of nothing": ("limit=0", "limit: Input should be greater than or equal to 1"),
    "an unknown wish": ("reasons=long", "reasons: Input should be 'none', 'short' or 'full'"),
    "an override without a value": ("gate.total", "--set gate.total: write dotted.key=value"),
    "an override that is no YAML": ("gate.over=[", "--set gate.over=[: the value is not YAML"),
}


@pytest.mark.parametrize(("override", "said"), ONE_LINE.values(), ids=ONE_LINE.keys())
def test_a_mistake_is_said_in_one_line(load: Callable[..., LoadedJob], override: str, said: str) -> None:
    with pytest.raises((FixJob, FixRubric)) as refused:
        load(override)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_head_tail_needs_an_endpoints_context(load: Callable[..., LoadedJob]) -> None:
    endpoint = {"engine": "endpoint", "base_url": "http://a/v1", "model": "m"}
    with pytest.raises(FixJob, match=r"long_text: head_tail needs judge\.context, the tokens that the server's model"):
        load(judge=endpoint, long_text="head_tail")
    assert load(judge={**endpoint, "context": 8192}, long_text="head_tail").config.judge.context == 8192
    assert load(judge=endpoint).config.long_text == "reject"
    assert load(long_text="head_tail").config.long_text == "head_tail"


def test_a_key_misspelt_is_said_and_not_that_it_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({("rubrcs" if key == "rubrics" else key): value for key, value in BASE.items()}))
    with pytest.raises(FixJob, match=r"rubrcs: unknown key \(did you mean rubrics\?\)"):
        load_job(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such job file; give the path of a YAML file"),
        (b"rubrics: [answer", "cannot be read as YAML"),
        (b"- a\n- b\n", "a job is a mapping with the keys name, input, rubrics, gate, judge"),
        (b"", "a job is a mapping"),
        ("name: 甲".encode("gb18030"), "cannot be read as YAML"),
        (b"name: x\n", "input: Field required"),
    ],
)
def test_a_file_that_is_no_job(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FixJob) as refused:
        load_job(path)
    assert str(refused.value).startswith(f"{path}: {said}")
    assert "\n" not in str(refused.value)


def test_a_gate_that_needs_dimensions_where_there_are_none(load: Callable[..., LoadedJob]) -> None:
    with pytest.raises(FixJob, match="total and each need dimensions, and the job's rubrics have none; use require"):
        load(rubrics=["coherence"], gate={"each": 8})
    with pytest.raises(FixJob, match="total and each need dimensions"):
        load(rubrics=["coherence"], gate={"total": 50})
    job = load(rubrics=["coherence"], gate={"require": ["coherence"]})
    assert len(job.gate.require) == 5
    assert job.gate.over == ()


def test_a_rubrics_name_stands_for_all_its_items(load: Callable[..., LoadedJob]) -> None:
    gate = load(
        gate={"over": ["answer", "answer.quality", "query.quality"], "require": ["coherence.open", "coherence"]}
    ).gate
    assert gate.over == ("answer.quality", "answer.creativity", "query.quality")
    assert gate.require[0] == "coherence.open"
    assert len(gate.require) == len(set(gate.require)) == 5


@pytest.mark.parametrize(
    "thresholds", ["answer.quality: 9, answer: 8, query: 7", "query: 7, answer: 8, answer.quality: 9"]
)
def test_each_by_a_rubrics_name_is_a_threshold_for_all_its_dimensions(
    load: Callable[..., LoadedJob], thresholds: str
) -> None:
    gate = load(f"gate={{each: {{{thresholds}}}}}").gate
    floors = [gate.floor(name) for name in ("answer.quality", "answer.creativity", "query.quality", "thought.quality")]
    assert floors == [9, 8, 7, None]
    assert gate.decide({**dict.fromkeys(gate.over or (), 10), "query.creativity": 6}).decision == "dropped"


def test_every_rubric_may_be_shipped_or_ones_own(load: Callable[..., LoadedJob], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "name: own\ntitle: 自\nreads: [answer]\nprompt: genre\nchecks: [{key: ok, title: 可, question: 可否？}]\n"
    )
    job = load(rubrics=["own.yaml", "answer"], gate={"require": ["own"]})
    assert job.gate.require == ("own.ok",)
    with pytest.raises(FixRubric, match=r"gone\.yaml: no such file"):
        load(rubrics=["gone.yaml"])


def test_every_decision_may_be_written() -> None:
    assert set(DECISIONS) == {
        *("kept", "dropped", "review", "pending", "unscored", "screened", "duplicate", "unreadable")
    }


# Judges


def judge(load: Callable[..., LoadedJob], **keys: Any) -> Any:
    return load(judge=keys).config.judge


def test_an_endpoint_and_a_judge_of_ones_own_are_accepted(load: Callable[..., LoadedJob]) -> None:
    assert judge(load, engine="endpoint", base_url="http://a/v1", model="m", extra_body={"top_k": 1}).model == "m"
    assert judge(load, engine="my.judge:Mine", options={"a": 1}).options == {"a": 1}


@pytest.mark.parametrize(
    ("model", "gpus"),
    [
        ("Qwen/Qwen3-235B-A22B-FP8", 4),
        ("Qwen/Qwen3-235B-A22B", 8),
        ("/models/Qwen3-235B-A22B-FP8/", 4),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", 8),
        ("Qwen/Qwen3-0.6B", 1),
        ("embedded", 1),
        ("meta/other", 1),
    ],
)
def test_a_model_brings_its_layout(load: Callable[..., LoadedJob], model: str, gpus: int) -> None:
    assert tensor_parallel(judge(load, model=model)) == gpus
    assert tensor_parallel(judge(load, model=model, tensor_parallel=2)) == 2


@pytest.mark.parametrize(
    ("model", "thinking", "arguments"),
    [
        ("Qwen/Qwen3-235B-A22B-FP8", False, {"enable_thinking": False}),
        ("Qwen/Qwen3-235B-A22B-FP8", True, {"enable_thinking": True}),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", False, {}),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", True, {}),
    ],
)
def test_thinking_goes_to_the_template_where_it_is_a_switch(
    load: Callable[..., LoadedJob], model: str, thinking: bool, arguments: dict[str, Any]
) -> None:
    config = judge(load, model=model, thinking=thinking)
    assert template_arguments(config) == arguments
    assert (preset_for(config).reasoning_parser == "qwen3") or not thinking


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"model": "Qwen/Qwen3-235B-A22B-Instruct-2507", "thinking": True}, "does not think by its preset"),
        ({"model": "Qwen/Qwen3-235B-A22B-Thinking-2507-FP8"}, "always thinks; set judge.thinking: true"),
        ({"model": "m", "preset": "qwen33"}, "qwen33 is not known (did you mean qwen3?)"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused(load: Callable[..., LoadedJob], keys: dict[str, Any], said: str) -> None:
    with pytest.raises(CoigwError) as refused:
        preset_for(judge(load, **keys))
    assert said in str(refused.value)


def test_a_further_try_is_drawn_and_not_the_same_again(load: Callable[..., LoadedJob]) -> None:
    greedy = judge(load, model="embedded")
    assert sampling(greedy, 0) == {"temperature": 0}
    assert sampling(greedy, 1)["temperature"] == 0.7
    warm = judge(load, model="embedded", sampling={"temperature": 0.9, "top_p": 0.5})
    assert sampling(warm, 0) == sampling(warm, 1) == {"temperature": 0.9, "top_p": 0.5}
    thinking = judge(load, model="embedded", thinking=True)
    assert sampling(thinking, 0) == {"temperature": 0.6, "top_p": 0.95, "top_k": 20}


def test_the_order_of_asks_may_begin_with_the_fewest_fields(load: Callable[..., LoadedJob]) -> None:
    gate = {"over": ["answer", "query", "thought", "usability"], "each": 8}
    listed = load(rubrics=["coherence", "thought", "answer", "usability", "query"], gate=gate)
    job = load("order=fewest_fields", rubrics=["coherence", "thought", "answer", "usability", "query"], gate=gate)
    assert [rubric.name for rubric in listed.rubrics] == ["coherence", "thought", "answer", "usability", "query"]
    assert [rubric.name for rubric in job.rubrics] == ["usability", "answer", "query", "thought", "coherence"]
    assert job.gate == listed.gate and job.templates == listed.templates
    guided = load("order=fewest_fields", rubrics=["genre", "thought", "answer"], gate={"each": 8})
    assert [rubric.name for rubric in guided.rubrics] == ["genre", "answer", "thought"]
    with pytest.raises(FixJob, match="order"):
        load("order=cheapest")
    with pytest.raises(FixJob, match=r"samples\.exhaustive"):
        load("samples.exhaustive=2")
