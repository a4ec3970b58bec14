"""What the judge reads: the record's fields first, then the rubric's question.

A prompt file (prompts/*.md) begins with the placeholders of the fields its rubric reads, in the order of
rubric.FIELDS and with nothing between them, so that all requests of one record share their longest prefix.
Then come the task, {{rubric}}, {{genre}} and {{reply}}.

Under the layout `isolated` a rubric's task stands behind the fields, and no rubric sees another's text. Under `panel`
the tasks of all of a job's rubrics stand in the system text, which every request of a run shares, and behind the fields
a line names the one that counts: least to prefill, but an edit of one rubric changes every request.

A record's text stands between delimiters that carry 64 bits of a cryptographic hash of that very text: a
text cannot contain its own hash, so it cannot close its own block. That guards against instructions in
plain words; against control tokens guards tokens.py, which is why a prompt is handed on in segments and
never as one string.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from coigw_judge.errors import FixRubric
from coigw_judge.prompting.rubric import (
    REASON_CHARS,
    Check,
    Choice,
    Dimension,
    Note,
    Reasons,
    Rubric,
    Scale,
    find_file,
)
from coigw_judge.records.record import FIELDS, FieldName

FIELD_TITLES: dict[FieldName, str] = {"answer": "文章", "query": "题目", "thought": "思路"}
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_OWN = ("rubric", "genre", "reply")
OMISSION = "……（原文太长，此处由编者略去 {chars} 字）……"
"""Stands on a line of its own where a text was cut (long_text.py). It says who cut, so that no author is blamed."""

USUAL = Scale()
"""The scale that the system text names; a dimension's heading gives any other."""

Layout = Literal["isolated", "panel"]
PANEL = "下面列出几份评审表。每次只用其中一份，材料之后会点出它的名字；别的表当作不存在，既不作答，也不拿来比照。"
"""Opens the list of a panel's rubrics in the system text."""

REPLY = "回复 JSON："
"""What {{reply}} becomes: a last word behind the rubric; the keys stand in its headings."""


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
        genre = f"体裁提示：{guidance}" if guidance else ""
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
    filled = {"rubric": describe(rubric), "genre": "\0", "reply": REPLY}
    before, after = _PLACEHOLDER.sub(lambda match: filled[match[1]], body).split("\0")
    return Template(f"{_system()}\n\n{reply_form(reasons)}", before.strip(), after.strip(), head)


def load_templates(rubrics: Sequence[Rubric], reasons: Reasons, layout: Layout) -> dict[str, Template]:
    """The templates of a job's rubrics by name. Raises FixRubric as load_template.

    A panel lists its rubrics by name and not in the order of the asks, so that another order changes no request.
    """
    alone = {rubric.name: load_template(rubric, reasons) for rubric in rubrics}
    if layout == "isolated":
        return alone
    listed = sorted(rubrics, key=lambda rubric: rubric.name)
    sheets = [f"{_sheet(rubric)}\n\n{alone[rubric.name].before_genre}" for rubric in listed]
    return {
        rubric.name: replace(
            alone[rubric.name],
            system="\n\n".join((alone[rubric.name].system, PANEL, *sheets)),
            before_genre=f"按{_sheet(rubric)}作答，只答这一份。",
        )
        for rubric in rubrics
    }


def _sheet(rubric: Rubric) -> str:
    return f"《评审表 {rubric.name} {rubric.title}》"


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
        raise FixRubric(f"{path}: cannot be read as UTF-8 text: {error}") from error


def describe(rubric: Rubric) -> str:
    """The rubric in words, an item under each heading: criteria and anchors, questions, options.

    Terse, because it stands behind the record and so is prefilled again for every request. What headings
    leave out (the usual scale, that a bare question is a yes/no one) the system text says: see reply_form.
    """
    blocks: list[str] = []
    for item in rubric.items:
        heading = f"# {item.key} {item.title}"
        match item:
            case Dimension():
                criteria = "；".join(f"{name}：{text.rstrip('。；')}" for name, text in item.criteria.items())
                anchors = "\n".join(f"{n:g}：{item.anchors[n]}" for n in sorted(item.anchors, reverse=True))
                blocks.append(f"{heading}{_unusual(rubric.scale)}\n{criteria}。\n{anchors}")
            case Check():
                blocks.append(f"{heading}\n{item.question}")
            case Choice():
                blocks.append(f"{heading}（选一项）\n{item.question}\n可选：{'、'.join(item.options)}")
            case Note():
                blocks.append(f"{heading}（{item.max_chars} 字以内）\n{item.question}")
    return "\n".join(blocks)


def _unusual(scale: Scale) -> str:
    """A scale in words where it is not the one that the system text names."""
    if scale == USUAL:
        return ""
    unit = "" if scale.step == 1 else f"，以 {scale.step:g} 为一档"
    return f"（{scale.min:g}–{scale.max:g} 分{unit}）"


def reply_form(reasons: Reasons) -> str:
    """How headings are read and every reply is written, beside the grammar that enforces it.

    Part of the system text, so cached once.
    """
    if reasons == "none":
        score, check, choice, last = "写数字", "写 true 或 false", "写所选", ""
    else:
        score, check, choice = (
            f'写作 {{"reason":理由,{value}}}' for value in ('"score":分数', '"value":true 或 false', '"choice":所选')
        )
        last = f"理由在前，各不超过 {REASON_CHARS[reasons]} 字。"
    return (
        "回复的写法：一个紧凑的 JSON，每节一键，依次取标题里的英文名。"
        f"列有锚点的为评分项（标题不另注的，打 {USUAL.min:g} 到 {USUAL.max:g} 的整数），{score}；"
        f"标“选一项”的{choice}；标字数的直接写文字；其余为是非项，{check}。{last}"
    )
