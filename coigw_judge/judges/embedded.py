"""The embedded judge: a tiny Qwen3-MoE checkpoint of random weights, built on the spot and without network.

It takes the very road of the real judge, from the tokenizer through the chat template into vLLM's own
Qwen3-MoE code, in seconds and on two CPU cores. What it says means nothing: its config.json carries
`"coigw_judge_meaningless": true`, so that a reader of its scores is warned (`is_meaningless`).
All is made here: a byte-level BPE tokenizer like Qwen's, trained on generated words (never on the project's
rubrics); Qwen3's control tokens and turns; weights under the tensor names of the published checkpoints.
The same versions of numpy, tokenizers and safetensors give the same bytes. A folder stands complete or not at all.
"""

import importlib.util
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coigw_judge.errors import FixJudge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Tensor = NDArray[np.float32]

VERSION = 1
"""Names the folder in the cache: raise it with every change that changes the checkpoint."""

MARK = "coigw_judge_meaningless"
"""The key in config.json which says that the scores of this checkpoint mean nothing."""

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
"""Qwen3's control tokens in its order; `decode` leaves them out."""

PLAIN_ADDED_TOKENS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
"""The tokens which follow them in Qwen3: also one id each, but `decode` shows them."""

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}"
    "{%- endif %}"
)
"""Qwen3's turns and its thinking switch; nothing is trimmed."""

_SPLIT = (  # Qwen's pre-tokenizer: every digit stands alone, words keep one leading space or mark
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MARKS = "，。！？、；：“”‘’（）《》【】「」—…·～"
_JSON = '{" "} ":{" ":" "," "}," "},{" ":[" "]} ": }} \\" \\n [" "] "}} ,"'
_ENGLISH = (
    "a about after all also an and any are as at be because been before between both but by can could day did do does "
    "each early end even every false find first for form from general get give go good great had has have he her here "
    "his how if in into is it its just know last life like list long made make many may more most much must name new "
    "no not note now null number of on one only open or order other our out over own part people place point read "
    "right same say see set she should show so some state still such text than that the their them then there these "
    "they think this those time to true two type under up use used value very was way we well were what when where "
    "which who will with word work world would write year yes you your able action al ation content ed en er es ess "
    "est format ful ible ic ing ion ist ity ive key less line ly ment ness ous result text tion true ty user"
)

_SEED = 20251016
_LONGEST = 65536
"""Tokens: twice the 31,071 characters of the longest article. A character costs 0.6-0.8 in statutes, about 1 in old
novels, up to 1.6 in old poems, and 3 where every hanzi is a rare one."""
_VOCABULARY = 8192
_HIDDEN, _LAYERS, _HEADS, _KV_HEADS, _HEAD_SIZE, _EXPERTS, _EXPERT_SIZE = 256, 4, 4, 2, 64, 8, 256

_SPREAD = 0.05
_ATTENTION_STRETCH = 4.0
_LOGIT_STRETCH = 5.0
_PULL = 2.2
_REPELLED = frozenset(PLAIN_ADDED_TOKENS) | {chr(0x100 + byte) for byte in range(0x20)}
"""Tokens which no trained judge writes into a string: Qwen's tags, and raw control characters (as byte-level BPE
spells them), which xgrammar lets through though JSON forbids them."""


def cache_dir() -> Path:
    """Where built checkpoints are kept: $COIGW_JUDGE_CACHE, else coigw-judge in the user's cache folder."""
    if chosen := os.environ.get("COIGW_JUDGE_CACHE"):
        return Path(chosen)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "coigw-judge"


def is_meaningless(path: Path) -> bool:
    """Whether the checkpoint in folder `path` says of itself that its scores mean nothing."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get(MARK) is True


def _is_complete(folder: Path) -> bool:
    return is_meaningless(folder) and all((folder / name).is_file() for name in FILES)


def write_files(folder: Path) -> None:
    """Write every file of the checkpoint into an empty folder."""
    from safetensors.numpy import save

    tokenizer = _tokenizer()
    ids = tokenizer.get_vocab(with_added_tokens=True)
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    (folder / "model.safetensors").write_bytes(save(_weights(ids), metadata={"format": "pt"}))
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(tokenizer))
    _write_json(folder / "config.json", _config(vocabulary=len(ids), end=end, pad=pad))
    _write_json(folder / "generation_config.json", {"eos_token_id": [end, pad], "pad_token_id": pad})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def build(folder: Path | None = None, write: Callable[[Path], None] = write_files) -> Path:
    """Build the checkpoint unless it stands already; return its folder (by default one in the cache).

    Several processes may build at once: each writes a folder of its own, the first to rename it wins.
    `write` fills an empty folder. Raises FixJudge where the folder cannot be written or holds something else, or a
    library is missing.
    """
    target = cache_dir() / f"embedded-{VERSION}" if folder is None else folder
    if _is_complete(target):
        return target
    draft = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        write(draft)
        draft.rename(target)
    except OSError as error:
        if not _is_complete(target):  # else another process was merely faster
            fix = "remove that folder, or choose another one with COIGW_JUDGE_CACHE"
            raise FixJudge(f"{target}: the embedded judge cannot be built there ({error}); {fix}") from error
    except ModuleNotFoundError as error:
        raise FixJudge(f"the embedded judge needs {error.name}: install coigw-judge[cpu]") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


# The tokenizer


def _tokenizer() -> "Tokenizer":
    """Train a byte-level BPE like Qwen's, then add Qwen3's control tokens after its vocabulary."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY - len(SPECIAL_TOKENS) - len(PLAIN_ADDED_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN_ADDED_TOKENS])
    return tokenizer


def _corpus() -> Iterator[str]:
    """What the tokenizer learns: every common hanzi, common words of Chinese and English, pieces of JSON.

    The hanzi come ten times as often as the words, so that each becomes one token before
    the bytes at the seam of two hanzi look like a frequent pair.
    """
    single = [*_hanzi(), *_MARKS, *_JSON.split(), *_ENGLISH.split(), *(f" {word}" for word in _ENGLISH.split())]
    for _ in range(200):
        yield from single
    words = _chinese_words(3000)
    for _ in range(20):
        yield from words


def _hanzi() -> list[str]:
    """The 3,755 hanzi of GB2312's first level, those of everyday writing."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return [code.decode("gb2312") for code in codes if code <= b"\xd7\xf9"]


def _chinese_words(count: int) -> list[str]:
    """The most frequent words of several hanzi in jieba's dictionary, read without importing jieba."""
    package = importlib.util.find_spec("jieba")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("its dictionary gives the common words", name="jieba")
    found: list[tuple[int, str]] = []
    for line in (Path(package.origin).parent / "dict.txt").read_text(encoding="utf-8").splitlines():
        word, frequency, _ = line.split(" ")
        if len(word) > 1 and all("一" <= character <= "鿿" for character in word):
            found.append((-int(frequency), word))
    return [word for _, word in sorted(found)[:count]]


def _tokenizer_config(tokenizer: "Tokenizer") -> dict[str, Any]:
    added = {
        str(index): {
            "content": token.content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token.special,
        }
        for index, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": _LONGEST,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


# The model


def _config(*, vocabulary: int, end: int, pad: int) -> dict[str, Any]:
    """What Qwen3MoeConfig writes for a published checkpoint, in small, and the mark."""
    return {
        MARK: True,
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": pad,
        "decoder_sparse_step": 1,
        "eos_token_id": end,
        "head_dim": _HEAD_SIZE,
        "hidden_act": "silu",
        "hidden_size": _HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": _EXPERT_SIZE,
        "max_position_embeddings": _LONGEST,
        "mlp_only_layers": [],
        "moe_intermediate_size": _EXPERT_SIZE,
        "norm_topk_prob": True,
        "num_attention_heads": _HEADS,
        "num_experts": _EXPERTS,
        "num_experts_per_tok": 2,
        "num_hidden_layers": _LAYERS,
        "num_key_value_heads": _KV_HEADS,
        "output_router_logits": False,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": vocabulary,
    }


def _weights(ids: dict[str, int]) -> dict[str, "Tensor"]:
    """Random weights under the names of the published checkpoints, bent in three places so that replies look alive.

    1. Queries and keys are stretched, so that heads look at single tokens: an average over one article hardly
       differs from that over another, and all articles would get the same scores.
    2. Logits are stretched, so that a few tokens stand out, as in a trained model.
    3. Channel 0 is 1 in every token's embedding; no layer reads it or writes to it. In lm_head the closing `"`
       reads it with a pull, without which an untrained model would run every string to its maxLength,
       and _REPELLED with a push. No digit reads it: scores are what chance makes of the text.
    """
    import numpy as np

    chance = np.random.Generator(np.random.PCG64(_SEED))

    def normal(rows: int, columns: int) -> "Tensor":
        return chance.standard_normal((rows, columns), dtype=np.float32) * np.float32(_SPREAD)

    embedding = normal(len(ids), _HIDDEN)
    embedding[:, 0] = 1
    weights = {"model.embed_tokens.weight": embedding}
    for number in range(_LAYERS):
        weights |= {f"model.layers.{number}.{name}.weight": tensor for name, tensor in _layer(normal).items()}
    weights["model.norm.weight"] = np.full(_HIDDEN, _LOGIT_STRETCH, dtype=np.float32)
    head = normal(len(ids), _HIDDEN)
    head[:, 0] = 0
    head[ids['"'], 0] = _PULL
    head[[index for token, index in ids.items() if token in _REPELLED], 0] = -_PULL
    weights["lm_head.weight"] = head
    return weights


def _layer(normal: "Callable[[int, int], Tensor]") -> dict[str, "Tensor"]:
    """One decoder layer: attention, router and experts, all blind to channel 0 and without a hand on it."""
    import numpy as np

    def writer(columns: int) -> "Tensor":
        tensor = normal(_HIDDEN, columns)
        tensor[0] = 0
        return tensor

    blind = np.ones(_HIDDEN, dtype=np.float32)
    blind[0] = 0
    stretch = np.full(_HEAD_SIZE, _ATTENTION_STRETCH, dtype=np.float32)
    layer = {
        "input_layernorm": blind,
        "self_attn.q_proj": normal(_HEADS * _HEAD_SIZE, _HIDDEN),
        "self_attn.k_proj": normal(_KV_HEADS * _HEAD_SIZE, _HIDDEN),
        "self_attn.v_proj": normal(_KV_HEADS * _HEAD_SIZE, _HIDDEN),
        "self_attn.o_proj": writer(_HEADS * _HEAD_SIZE),
        "self_attn.q_norm": stretch,
        "self_attn.k_norm": stretch.copy(),
        "post_attention_layernorm": blind.copy(),
        "mlp.gate": normal(_EXPERTS, _HIDDEN),
    }
    for expert in range(_EXPERTS):
        layer[f"mlp.experts.{expert}.gate_proj"] = normal(_EXPERT_SIZE, _HIDDEN)
        layer[f"mlp.experts.{expert}.up_proj"] = normal(_EXPERT_SIZE, _HIDDEN)
        layer[f"mlp.experts.{expert}.down_proj"] = writer(_EXPERT_SIZE)
    return layer
