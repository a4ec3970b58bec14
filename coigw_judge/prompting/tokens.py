"""From a prompt's segments to token ids, so that a record's text can never be a control token.

The chat template is rendered once around two marks and cut at them. Its three pieces are encoded by the
model's tokenizer, which knows control tokens; everything that we or a record put in is encoded by a second
tokenizer made from the same tokenizer.json with its added tokens emptied. (`split_special_tokens` is no
substitute: it leaves added tokens such as Qwen's <think> whole.) Should a vocabulary still hold a control
token that plain text can reach, that text is encoded character by character.
The ids are joined and sent as ids. `Encoder.verify` refuses a model for which that differs from what its own
template would have rendered: prefix-space tokenizers, templates that trim or read the clock, no system role.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash
from jinja2 import TemplateError

from coigw_judge.errors import FixJudge
from coigw_judge.prompting.template import Prompt

_SYSTEM_MARK, _USER_MARK = "COIGWSYSTEMMARK", "COIGWUSERMARK"
_RARE = ("\u9f98", "\U0001f9ff", "\u2dff", "\U00020bb7")
"""Characters that a vocabulary without byte fallback is unlikely to hold."""

_CACHED_SEGMENTS = 2048
"""Segments kept encoded: a record's fields serve all its rubrics, a rubric's task serves all records."""


class Encoder:
    """A model's tokenizer and chat template, for prompts of one system and one user turn.

    `template_args` go to the chat template (for instance `enable_thinking`). Raises FixJudge where the
    model cannot be prompted safely.
    """

    def __init__(self, model_dir: Path, template_args: Mapping[str, Any] | None = None) -> None:
        from tokenizers import Tokenizer

        path = model_dir / "tokenizer.json"
        if not path.is_file():
            raise FixJudge(f"{model_dir}: has no tokenizer.json; the model cannot be prompted token-safely")
        raw = path.read_bytes()
        self.tokenizer_hash = xxhash.xxh3_128_hexdigest(raw)
        try:
            described = json.loads(raw)
            self.control_ids = frozenset(int(token["id"]) for token in described["added_tokens"])
            self._model = Tokenizer.from_str(raw.decode())
            self._plain = Tokenizer.from_str(json.dumps({**described, "added_tokens": []}))
        except Exception as error:  # tokenizers has no class of its own for what it raises
            reason = " ".join(str(error).split())
            raise FixJudge(f"{path}: is no tokenizer ({reason}); fetch the model's files again") from error
        for tokenizer in (self._model, self._plain):
            tokenizer.no_truncation()
            tokenizer.no_padding()
        for probe in _RARE:
            ids = self._plain.encode(probe, add_special_tokens=False).ids
            if not ids or not self.control_ids.isdisjoint(ids):
                raise FixJudge(f"{model_dir}: its tokenizer would lose characters such as {probe!r}; use another model")
        self._longest = max(len(piece) for piece in self._plain.get_vocab())
        self._cache: OrderedDict[str, list[int]] = OrderedDict()
        self._chat = _ChatTemplate(model_dir, template_args or {})
        rendered = self._chat.render(_SYSTEM_MARK, _USER_MARK)
        self.frame = _cut(rendered, model_dir)
        self.frame_ids = tuple(self._model.encode(piece, add_special_tokens=False).ids for piece in self.frame)

    def encode(self, prompt: Prompt) -> list[int]:
        """The ids of a request. Control tokens in it are exactly those of the chat template."""
        head, middle, tail = self.frame_ids
        ids = [*head, *self.plain(prompt.system), *middle]
        for field in prompt.fields:
            ids += self.plain(field)
            ids += self.plain("\n\n")
        ids += self.plain(prompt.task)
        ids += tail
        return ids

    def plain(self, text: str) -> list[int]:
        """The ids of a text that holds no control tokens, whatever it says. Cached; do not change the list."""
        known = self._cache.get(text)
        if known is not None:
            self._cache.move_to_end(text)
            return known
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        if not self.control_ids.isdisjoint(ids):
            ids = [i for char in text for i in self._plain.encode(char, add_special_tokens=False).ids]
            ids = [i for i in ids if i not in self.control_ids]
        self._cache[text] = ids
        if len(self._cache) > _CACHED_SEGMENTS:
            self._cache.popitem(last=False)
        return ids

    def count(self, text: str) -> int:
        """How many tokens a text takes."""
        return len(self.plain(text))

    def at_least(self, prompt: Prompt) -> int:
        """A lower bound on the number of tokens without encoding, so that a text of 10 MB is refused at once."""
        return sum(len(text) for text in prompt.fields) // self._longest

    def decode(self, ids: list[int]) -> str:
        """The text of ids, control tokens included."""
        text: str = self._model.decode(ids, skip_special_tokens=False)
        return text

    def verify(self, prompt: Prompt) -> None:
        """Raise FixJudge where the ids do not say what the model's own template would."""
        ids = self.encode(prompt)
        wanted = self._chat.render(prompt.system, prompt.user)
        if self.decode(ids) != wanted:
            at = _first_difference(self.decode(ids), wanted)
            raise FixJudge(
                f"{self._chat.model_dir}: its tokens do not decode to what its chat template renders (from character "
                f"{at}: {self.decode(ids)[at : at + 30]!r}, the template: {wanted[at : at + 30]!r}); a tokenizer that "
                "adds spaces or a template that changes its content cannot be prompted token-safely"
            )

    def controls(self, ids: list[int]) -> list[int]:
        """The control tokens among ids, in order."""
        return [i for i in ids if i in self.control_ids]


class _ChatTemplate:
    """A model's chat template, rendered by transformers."""

    def __init__(self, model_dir: Path, arguments: Mapping[str, Any]) -> None:
        from transformers import AutoTokenizer

        self.model_dir = model_dir
        self._arguments = arguments
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(model_dir))
        except (OSError, ValueError) as error:
            raise FixJudge(f"{model_dir}: its tokenizer does not load: {' '.join(str(error).split())}") from error
        if not self._tokenizer.chat_template:
            raise FixJudge(f"{model_dir}: has no chat template; use a model that was trained to answer")

    def render(self, system: str, user: str) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, strftime_now=_no_clock, **self._arguments
            )
        except TemplateError as error:
            raise FixJudge(f"{self.model_dir}: its chat template refuses a system and a user turn: {error}") from error
        return text


def _no_clock(_format: str) -> str:
    raise TemplateError("it reads the clock, so that no request could be asked twice")


def _cut(rendered: str, model_dir: Path) -> tuple[str, str, str]:
    head, found_system, rest = rendered.partition(_SYSTEM_MARK)
    middle, found_user, tail = rest.partition(_USER_MARK)
    if not found_system or not found_user or _USER_MARK in tail or _SYSTEM_MARK in rest:
        raise FixJudge(f"{model_dir}: its chat template does not show the system and the user turn once each, in order")
    return head, middle, tail


def _first_difference(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
