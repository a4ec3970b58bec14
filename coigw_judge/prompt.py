"""What the judge reads: the record's fields first, then the rubric's question.

A prompt file (prompts/*.md) begins with the placeholders of the fields its rubric reads, in the order of
rubric.FIELDS and with nothing between them, so that all requests of one record share their longest prefix
(layout `isolated`). Then come the task, {{rubric}}, {{genre}} and {{reply}}.

A record's text stands between delimiters that carry 64 bits of a cryptographic hash of that very text: a
text can not contain its own hash, so it can not close its own block. That guards against instructions in
plain words; against control tokens guards tokens.py, which is why a prompt is handed on in segments and
never as one string.
Not known here: tokens, chat templates, models.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coigw_judge.errors import FixRubric
from coigw_judge.rubric import (
    FIELDS,
    REASON_CHARS,
    Check,
    Choice,
    Dimension,
    FieldName,
    Note,
    Reasons,
    Rubric,
    find_file,
)

FIELD_TITLES: dict[FieldName, str] = {"answer": "文章", "query": "题目", "thought": "思路"}
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_OWN = ("rubric", "genre", "reply")
OMISSION = "……（原文太长，此处由编者略去 {chars} 字）……"
"""Stands on a line of its own where a text was cut (headtail.py). It says who cut, so that no author is blamed."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request as texts. `system` and `task` are ours; `fields` are the record's, each in its delimiters."""

    system: str
    fields: tuple[str, ...]
    task: str

    @property
    def user(self) -> str:
        """The user turn as one string, for servers that take messages and for people."""
        return "\n\n".join((*self.fields, self.task))


@dataclass(frozen=True, slots=True)
class Template:
    """A rubric's prompt with everything filled in but the record's fields and the genre's guidance."""

    system: str
    before_genre: str
    after_genre: str
    fields: tuple[FieldName, ...]

    def render(self, texts: Mapping[FieldName, str], guidance: str | None) -> Prompt:
        """Fill in one record. A field that the record lacks (`reads_if_present`) is left out."""
        blocks = tuple(delimited(field, texts[field]) for field in self.fields if field in texts)
        return Prompt(self.system, blocks, self.task(guidance))

    def task(self, guidance: str | None) -> str:
        """The question that follows the fields."""
        genre = f"## 体裁提示\n{guidance}" if guidance else ""
        parts = (self.before_genre, genre, self.after_genre)
        return "\n\n".join(part for part in parts if part)


def delimited(field: FieldName, text: str) -> str:
    """A field's text between delimiters that only this text can have."""
    mark = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    title = FIELD_TITLES[field]
    return f"【{title} {mark}】\n{text}\n【{title} {mark} 完】"


def omission(chars: int) -> str:
    """The line that stands for so many characters of a text."""
    return OMISSION.format(chars=chars)


def load_template(rubric: Rubric, reasons: Reasons) -> Template:
    """Load and check a rubric's prompt. Raises FixRubric naming the file and what its placeholders should be."""
    path = find_file(rubric.prompt, "prompts", ".md")
    text = _read(path)
    head, body = _split_fields(text, rubric, path)
    named: list[str] = _PLACEHOLDER.findall(body)
    if sorted(named) != sorted(_OWN):
        wanted = ", ".join(f"{{{{{name}}}}}" for name in _OWN)
        found = ", ".join(f"{{{{{name}}}}}" for name in named) or "none"
        raise FixRubric(f"{path}: after the fields exactly {wanted} must stand, each once; found: {found}")
    filled = {"rubric": describe(rubric), "genre": "\0", "reply": describe_reply(rubric)}
    before, after = _PLACEHOLDER.sub(lambda match: filled[match[1]], body).split("\0")
    return Template(f"{_system()}\n\n{reply_form(reasons)}", before.strip(), after.strip(), head)


def _split_fields(text: str, rubric: Rubric, path: Path) -> tuple[tuple[FieldName, ...], str]:
    """Cut the leading field placeholders off; they must be exactly the rubric's, in prompt order."""
    wanted = "\n\n".join(f"{{{{{field}}}}}" for field in rubric.fields)
    compact = text.lstrip()
    if not compact.startswith(wanted):
        shown = wanted.replace("\n\n", ", ")
        raise FixRubric(f"{path}: must begin with the fields that rubric {rubric.name} reads, one a line: {shown}")
    body = compact[len(wanted) :]
    if any(name in FIELDS for name in _PLACEHOLDER.findall(body)):
        raise FixRubric(f"{path}: a field's placeholder stands again after the task began, or is not in reads")
    return rubric.fields, body


def _system() -> str:
    path = find_file("system", "prompts", ".md")
    text = _read(path).strip()
    if _PLACEHOLDER.search(text):
        raise FixRubric(f"{path}: the system text takes no placeholders")
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FixRubric(f"{path}: can not be read as UTF-8 text: {error}") from error


def describe(rubric: Rubric) -> str:
    """The rubric in words: criteria and anchors, questions, options.

    Terse, because it stands behind the record and so is prefilled again for every request.
    """
    low, high, step = rubric.scale.min, rubric.scale.max, rubric.scale.step
    unit = "" if step == 1 else f"，以 {step:g} 为一档"
    blocks: list[str] = []
    for item in rubric.items:
        match item:
            case Dimension():
                criteria = "；".join(f"{name}：{text.rstrip('。；')}" for name, text in item.criteria.items())
                anchors = "\n".join(f"{n:g}：{item.anchors[n]}" for n in sorted(item.anchors, reverse=True))
                blocks.append(f"## {item.key} {item.title}（{low:g}–{high:g} 分{unit}）\n{criteria}。\n{anchors}")
            case Check():
                blocks.append(f"## {item.key} {item.title}（是或否）\n{item.question}")
            case Choice():
                options = "、".join(item.options)
                blocks.append(f"## {item.key} {item.title}（选一项）\n{item.question}\n可选：{options}")
            case Note():
                blocks.append(f"## {item.key} {item.title}（{item.max_chars} 字以内）\n{item.question}")
    return "\n".join(blocks)


def reply_form(reasons: Reasons) -> str:
    """How every reply is written, beside the grammar that enforces it. Part of the system text: cached once."""
    if reasons == "none":
        return "回复的写法：一个紧凑的 JSON，键的次序如任务所列；评分项写数字，是非项写 true 或 false，其余写文字。"
    return (
        "回复的写法：一个紧凑的 JSON，键的次序如任务所列；"
        '评分项写作 {"reason":理由,"score":分数}，是非项写作 {"reason":理由,"value":true 或 false}，'
        f'单选项写作 {{"reason":理由,"choice":所选}}，札记项直接写文字。理由在前，各不超过 {REASON_CHARS[reasons]} 字。'
    )


def describe_reply(rubric: Rubric) -> str:
    """Which keys the reply has, in order."""
    return f"回复的键：{'、'.join(item.key for item in rubric.items)}"
