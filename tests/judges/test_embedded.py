"""The embedded judge: the same checkpoint every time, Qwen's tokens and turns, and the mark that it means nothing."""

import hashlib
import json
import shutil
import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coigw_judge.errors import FixJudge
from coigw_judge.judges import embedded

pytest.importorskip("transformers")

TURNS = [{"role": "system", "content": "你是评委。 "}, {"role": "user", "content": "文章\n\n<think>{{x}}"}]
ODD_TEXTS = [
    "",
    " ",
    "  两个空格，行尾 \t \r\n\r\n\n下一行",
    "1010 年，10.5%，第１２回",
    "龘靐𠮷𪚥 繁體與異體",
    "👨‍👩‍👧‍👦🏳️‍🌈 e\u0301 \u200b\ufeff\u202e\x00\x1f\x7f",
    '{"reason":"他说：\\"好\\"","score":10}',
    "It's they'LL — “引用”……《书》",
    "<|im_end|>\n<|im_start|>system\n<think></think><tool_call>",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded.build(tmp_path_factory.mktemp("embedded") / "judge")


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def forbid(*_: object) -> None:
    raise AssertionError("must not be called")


def test_two_builds_give_the_same_bytes_in_under_a_minute(checkpoint: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    again = embedded.build(tmp_path / "again")
    assert time.monotonic() - started < 60
    assert digests(again) == digests(checkpoint)
    assert sorted(digests(again)) == sorted(embedded.FILES)


def test_a_complete_folder_is_returned_at_once(checkpoint: Path) -> None:
    assert embedded.build(checkpoint, forbid) == checkpoint


@pytest.mark.slow
def test_concurrent_builds_leave_one_complete_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "judge"
    with ThreadPoolExecutor(2) as pool:
        built = list(pool.map(embedded.build, [target] * 2))
    assert built == [target] * 2
    assert list(target.parent.iterdir()) == [target]
    assert sorted(digests(target)) == sorted(embedded.FILES)


def test_whoever_comes_second_drops_its_copy(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "judge"

    def write_while_another_is_faster(folder: Path) -> None:
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        shutil.copytree(checkpoint, target)
        (target / "first").touch()

    assert embedded.build(target, write_while_another_is_faster) == target
    assert list(tmp_path.iterdir()) == [target]
    assert (target / "first").exists()


def test_a_folder_that_holds_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    target = tmp_path / "judge"
    target.mkdir()
    (target / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FixJudge, match=r"judge: the embedded judge cannot be built there .* COIGW_JUDGE_CACHE"):
        embedded.build(target, lambda folder: (folder / "config.json").touch())
    assert [path.name for path in tmp_path.rglob("*")] == ["judge", "notes.txt"]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        raise OSError("No space left on device")

    with pytest.raises(FixJudge, match="No space left"):
        embedded.build(tmp_path / "judge", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(FixJudge, match=r"needs jieba: install coigw-judge\[cpu\]"):
        embedded.build(tmp_path / "judge")


def test_cache_dir_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COIGW_JUDGE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert embedded.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("COIGW_JUDGE_CACHE")
    assert embedded.cache_dir() == tmp_path / "xdg" / "coigw-judge"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert embedded.cache_dir() == tmp_path / ".cache" / "coigw-judge"


def test_the_default_folder_names_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COIGW_JUDGE_CACHE", str(tmp_path))
    built = embedded.build(write=lambda folder: (folder / "config.json").touch())
    assert built == tmp_path / f"embedded-{embedded.VERSION}" and (built / "config.json").exists()


def test_the_checkpoint_says_that_it_is_meaningless(checkpoint: Path) -> None:
    assert embedded.is_meaningless(checkpoint)
    assert json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["coigw_judge_meaningless"] is True


@pytest.mark.parametrize("config", [None, "{}", "[]", "not json", '{"coigw_judge_meaningless": false}'])
def test_other_folders_are_not_called_meaningless(config: str | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
    assert not embedded.is_meaningless(tmp_path)


def test_transformers_reads_it_as_a_small_qwen3_moe(checkpoint: Path, tokenizer: Any) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint)
    assert config.model_type == "qwen3_moe"
    assert config.architectures == ["Qwen3MoeForCausalLM"]
    assert config.vocab_size == len(tokenizer) <= 8192
    assert config.max_position_embeddings >= 2 * 31071
    assert config.eos_token_id == tokenizer.eos_token_id


def test_weights_are_few_finite_and_leave_the_digits_to_chance(checkpoint: Path, tokenizer: Any) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    weights = load_file(checkpoint / "model.safetensors")
    assert sum(tensor.size for tensor in weights.values()) < 17_000_000
    assert all(np.isfinite(tensor).all() for tensor in weights.values())
    pull = weights["lm_head.weight"][:, 0]
    assert [tokenizer.decode([index]) for index in np.flatnonzero(pull > 0)] == ['"']
    assert not pull[tokenizer.convert_tokens_to_ids(list("0123456789"))].any()


def test_control_tokens_are_single_ids_in_qwens_order_after_the_vocabulary(tokenizer: Any) -> None:
    names = [*embedded.SPECIAL_TOKENS, *embedded.PLAIN_ADDED_TOKENS]
    ids = [tokenizer(name).input_ids for name in names]
    first = len(tokenizer) - len(names)
    assert ids == [[first + offset] for offset in range(len(names))]
    assert len(names) == 26
    assert tokenizer.decode(
        tokenizer("<|im_start|><think>好</think><|im_end|>").input_ids, skip_special_tokens=True
    ) == ("<think>好</think>")


def test_eos_pad_and_no_bos(tokenizer: Any, checkpoint: Path) -> None:
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|im_end|>", "<|endoftext|>", None)
    generation = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [tokenizer.eos_token_id, tokenizer.pad_token_id]


@pytest.mark.parametrize(
    ("text", "count"), [("10", 2), ("2024", 4), ("的", 1), ("龟", 1), ("我们", 1), ('{"', 1), ('","', 1)]
)
def test_token_counts(text: str, count: int, tokenizer: Any) -> None:
    assert len(tokenizer(text).input_ids) == count


def test_each_common_hanzi_is_one_token(tokenizer: Any) -> None:
    """The 3,755 of GB2312's first level."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    hanzi = [code.decode("gb2312") for code in codes if code <= b"\xd7\xf9"]
    assert (len(hanzi), hanzi[0], hanzi[-1]) == (3755, "啊", "座")
    assert {len(ids) for ids in tokenizer(hanzi).input_ids} == {1}


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_survive_the_round_trip(text: str, tokenizer: Any) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        ({}, "<|im_start|>assistant\n"),
        ({"enable_thinking": True}, "<|im_start|>assistant\n"),
        ({"enable_thinking": False}, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        ({"add_generation_prompt": False}, ""),
    ],
)
def test_chat_template(options: dict[str, bool], ending: str, tokenizer: Any) -> None:
    rendered = tokenizer.apply_chat_template(TURNS, tokenize=False, **({"add_generation_prompt": True} | options))
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in TURNS)
    assert rendered == turns + ending
