"""Label Studio: a labelling configuration made from a run's rubrics, and a task made from a record.

The configuration shows the texts, then asks for the decision, the scores and checks of each rubric, and offers boxes to
write query and thought in. Where the judge may be seen, its scores stand in the task as a prediction, its reasons and
analyses as texts beside the article. Control names are labels.control_name, so that exports can be read back.
Texts go into tags that show text, never HTML: a record is hostile.
"""

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from coigw_judge.people.labels.read import OVERALL, WRITTEN, control_name
from coigw_judge.prompting.rubric import Rubric
from coigw_judge.records.record import FieldName, Record

TITLES: dict[FieldName, str] = {"query": "题目", "answer": "文章", "thought": "思路"}
"""In the order in which people read them."""
DECISIONS = {"accept": "采用", "refine": "退改", "remove": "剔除"}
_YES_NO = {"yes": "是", "no": "否"}
_JUDGE_TEXTS = {"judge_decision": "评审结论", "judge_reasons": "评审理由", "analysis": "析读"}
_ACTIONS = {"kept": "accept", "review": "refine", "dropped": "refine"}


def scored(rubrics: Iterable[Rubric]) -> list[Rubric]:
    """The rubrics that ask for anything that people can label too."""
    return [rubric for rubric in rubrics if rubric.dimensions or rubric.checks]


def config(rubrics: Sequence[Rubric], fields: Collection[str], *, blind: bool) -> str:
    """The labelling configuration, as XML. `fields`: those that any of the records has."""
    view = ET.Element("View", style="max-width: 60em; margin: auto")
    for shown, title in TITLES.items():
        if shown in fields:
            _text(view, title, shown)
    if not blind:
        for name, words in _JUDGE_TEXTS.items():
            _text(view, words, name)
    _header(view, "结论")
    _choices(view, OVERALL, DECISIONS, required=True)
    for rubric in scored(rubrics):
        _header(view, rubric.title)
        for dimension in rubric.dimensions:
            points = "；".join(f"{name}：{text.rstrip('。')}" for name, text in dimension.criteria.items())
            _header(view, f"{dimension.title}（{points}）", size="6")
            scale = {"min": f"{rubric.scale.min:g}", "max": f"{rubric.scale.max:g}", "step": f"{rubric.scale.step:g}"}
            named = {"name": control_name(f"{rubric.name}.{dimension.key}"), "toName": "answer"}
            ET.SubElement(view, "Number", named | scale)
        for check in rubric.checks:
            _header(view, f"{check.title}：{check.question}", size="6")
            _choices(view, control_name(f"{rubric.name}.{check.key}"), _YES_NO)
    for control, field in WRITTEN.items():
        title = TITLES["query" if field == "query" else "thought"]
        _header(view, f"改写或补写{title}（不改则留空）")
        ET.SubElement(view, "TextArea", name=control, toName="answer", rows="6", maxSubmissions="1", editable="true")
    _header(view, "备注")
    ET.SubElement(view, "TextArea", name="comment", toName="answer", rows="3", editable="true")
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _header(view: ET.Element, text: str, size: str = "4") -> None:
    ET.SubElement(view, "Header", value=text, size=size)


def _text(view: ET.Element, title: str, name: str) -> None:
    _header(view, title)
    ET.SubElement(view, "Text", name=name, value=f"${name}")


def _choices(view: ET.Element, name: str, words: Mapping[str, str], *, required: bool = False) -> None:
    kind = {"choice": "single-radio", "showInline": "true"}
    if required:
        kind |= {"required": "true", "requiredMessage": "请选一项"}
    choices = ET.SubElement(view, "Choices", {"name": name, "toName": "answer"} | kind)
    for value, title in words.items():
        ET.SubElement(choices, "Choice", value=title, alias=value)


def task(
    record: Record,
    verdict: Mapping[str, Any],
    rubrics: Sequence[Rubric],
    about: Mapping[str, Any],
    *,
    best: float,
    blind: bool,
) -> dict[str, Any]:
    """One task.

    `about`: what else its data holds (sample, weight, reviewers). `best`: the highest sum there is, because Label
    Studio wants a prediction's score as a share. `blind`: without what the judge said.
    """
    data: dict[str, Any] = {
        "row_id": verdict["row_id"],
        "record_id": verdict["id"] or "",
        "genre": verdict["genre"] or "",
        **{name: record.texts.get(name, "") for name in TITLES},
        "blind": blind,
        **about,
    }
    if blind:
        return {"data": data}
    data["judge_decision"] = "\n".join([str(verdict["decision"]), *(verdict["reasons"] or ())])
    data["judge_reasons"] = _words_of_judge(verdict["judge_reasons"], rubrics, verdict)
    data["analysis"] = _words_of_judge(verdict["notes"], rubrics, {})
    return {"data": data, "predictions": [prediction(verdict, rubrics, str(about.get("judge_model", "judge")), best)]}


def _words_of_judge(texts: Mapping[str, str], rubrics: Sequence[Rubric], values: Mapping[str, Any]) -> str:
    """The judge's words on each item, under the item's title."""
    lines = []
    for rubric in rubrics:
        for item in rubric.items:
            text = texts.get(f"{rubric.name}.{item.key}")
            if text:
                value = _shown(values.get(f"{rubric.name}.{item.key}"))
                lines.append(f"【{rubric.title}·{item.title}{value}】{text}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f" {_YES_NO['yes' if value else 'no']}"
    return f" {value:g}" if isinstance(value, float) else f" {value}"


def prediction(verdict: Mapping[str, Any], rubrics: Sequence[Rubric], model: str, best: float) -> dict[str, Any]:
    """What the judge gave, in the words of the configuration's controls."""
    results: list[dict[str, Any]] = []
    action = verdict["action"] or _ACTIONS.get(verdict["decision"])
    if action:
        results.append(_result(OVERALL, "choices", {"choices": [action]}))
    for rubric in scored(rubrics):
        for dimension in rubric.dimensions:
            value = verdict.get(f"{rubric.name}.{dimension.key}")
            if value is not None:
                number = int(value) if value == int(value) else value
                results.append(_result(control_name(f"{rubric.name}.{dimension.key}"), "number", {"number": number}))
        for check in rubric.checks:
            value = verdict.get(f"{rubric.name}.{check.key}")
            if value is not None:
                chosen = {"choices": ["yes" if value else "no"]}
                results.append(_result(control_name(f"{rubric.name}.{check.key}"), "choices", chosen))
    found: dict[str, Any] = {"model_version": model, "result": results}
    if verdict["total"] is not None and best > 0:
        found["score"] = min(1.0, max(0.0, verdict["total"] / best))
    return found


def _result(name: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": name, "from_name": name, "to_name": "answer", "type": kind, "value": dict(value)}
