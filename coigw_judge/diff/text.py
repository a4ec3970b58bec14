"""A report of `diff` for a terminal, in 100 columns or as JSON. Every number in the text stands in the JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.run_folder import manifest as manifests
from coigw_judge.text.terminal import WIDTH, aligned, cells, cut, filled, one_line, sentence
from coigw_judge.text.unseen import ACTING, LINE_BREAKS, replaced

_MOST_GROUPS = 30
_MOST_DIFFERENCES = 40
_FINDINGS = {
    "nothing judged in both": "No record was judged in both runs, so nothing can be said about flips.",
    "no noise floor": (
        "No noise floor is known: neither run re-asked records that it decided. With `samples: {repeat: 0.02}` "
        "a job re-asks 2% of its records, and the flips that re-asking alone makes can be told from the others."
    ),
    "above": "The flips exceed what re-asking alone makes: the 95% intervals do not overlap.",
    "below": (
        "The flips are fewer than re-asking everything makes (the 95% intervals do not overlap): "
        "they show no effect beyond noise."
    ),
    "not told apart": "The flips cannot be told from what re-asking alone makes: the 95% intervals overlap.",
}


def as_text(report: Mapping[str, Any], ids: int = 10) -> str:
    """The whole report, with up to `ids` ids for every kind of flip."""
    same = _records(report, "unchanged")
    parts = [
        _head(report),
        _differs(report),
        _join(report["join"]),
        ["Decisions of joined rows: A down, B across", *_transitions(report["transitions"])],
        _flips(report, "unchanged", ids),
        _noise(report),
        _scores(f"Scores of {same} (shift: the mean)", report["unchanged"]["scores"]),
        _answers(f"Checks of {same}", report["unchanged"]["checks"], ("changed", "to_true", "to_false")),
        _answers(f"Choices of {same}", report["unchanged"]["choices"], ("changed",)),
        _flips(report, "changed", ids) if report["join"]["changed"] else [],
        _yields(report["yield"]),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def as_json(report: Mapping[str, Any]) -> str:
    """The whole report as JSON; what would move a cursor or turn the direction of writing stands there escaped."""
    text = json.dumps(report, ensure_ascii=False, indent=2)
    return replaced(text, lambda char: json.dumps(char)[1:-1], ACTING | LINE_BREAKS)


def _head(report: Mapping[str, Any]) -> list[str]:
    rows = report["join"]["rows"]
    runs = {side.upper(): report["runs"][side] for side in ("a", "b")}
    lines = [f"{name}: {one_line(run['folder'])} ({rows[name.lower()]:,} rows)" for name, run in runs.items()]
    meaningless = [name for name, run in runs.items() if run["meaningless"]]
    if meaningless:
        lines += sentence(f"! {' and '.join(meaningless)}: {manifests.MEANINGLESS}")
    for name, run in runs.items():
        if not run["complete"]:
            lines += sentence(f"! {name} is incomplete: its rows did not add up when it was written")
    return lines


def _differs(report: Mapping[str, Any]) -> list[str]:
    found = report["differs"]
    if not found:
        return sentence(
            "Nothing that the manifests record differs: rubrics, judge, gate, rows and job are the same. "
            "(Not recorded there: a rubric's by_genre and, in older runs, prompts.)",
            indent="",
        )
    rows = [[cut(d["key"], 38), _value(d["a"]), "->", _value(d["b"])] for d in found[:_MOST_DIFFERENCES]]
    more = len(found) - len(rows)
    lines = ["What differs", *_table(rows, left=4)]
    if more:
        lines.append(f"  and {more:,} more; --json has all")
    for side in ("a", "b"):
        if report["only_in"][side]:
            lines += sentence(
                f"scored only in {side.upper()}: {', '.join(one_line(n) for n in report['only_in'][side])}"
            )
    return lines


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, 12 if len(text) == 32 and set(text) <= set("0123456789abcdef") else 26)


def _join(join: Mapping[str, Any]) -> list[str]:
    on = join["on"]
    lines = [f"Joined: {join['joined']:,} rows ({on['id']:,} on id, {on['row_id']:,} on row_id)"]
    if join["texts_known"]:
        lines.append(f"  texts: {join['unchanged']:,} the same, {join['changed']:,} changed")
    else:
        lines += sentence("texts: not known to be the same, because an older run does not say (no column `record`)")
    if join["joined_on"] == "row_id":
        lines += sentence("no row of one run has an id, so all rows are joined on row_id")
    for what, title in (("no_id", "without id"), ("repeated_id", "with an id that stands more than once in its run")):
        if any(join[what].values()):
            lines += sentence(f"{title}: {join[what]['a']:,} rows in A, {join[what]['b']:,} in B; joined on row_id")
    for side, decisions in join["only_in"].items():
        if decisions:
            lines += sentence(f"only in {side.upper()}: " + ", ".join(f"{name} {n:,}" for name, n in decisions.items()))
    return lines


def _transitions(table: Mapping[str, Mapping[str, int]]) -> list[str]:
    after = [name for name in DECISIONS if any(name in row for row in table.values())]
    rows = [[name, *(f"{table[name].get(to, 0):,}" for to in after)] for name in DECISIONS if name in table]
    return _table([["", *after], *rows])


def _records(report: Mapping[str, Any], group: str) -> str:
    if not report["join"]["texts_known"]:
        return "joined records"
    return "records whose texts " + {"unchanged": "are the same", "changed": "changed"}[group]


def _flips(report: Mapping[str, Any], group: str, ids: int) -> list[str]:
    found = report[group]
    title = f"Flips of {_records(report, group)}"
    if not found["n"]:
        return [f"{title}: none was judged in both runs"]
    lines = sentence(f"{title}: {found['flips']:,} of {found['n']:,} judged in both, {_share(found)}", indent="")
    if group == "changed":
        lines += sentence("a changed record's flips say nothing about rubrics, judge or gate")
    lines += sentence(
        f"kept to not kept {found['kept_to_not_kept']:,}, not kept to kept {found['not_kept_to_kept']:,}, "
        f"between review and dropped {found['between_review_and_dropped']:,}"
    )
    for kind in found["kinds"]:
        shown = [cut(row["row_id"] if row["id"] is None else row["id"], 60) for row in kind["ids"][:ids]]
        if shown and kind["flips"] > len(shown):
            shown.append("...")
        pieces = [f"{kind['from']} -> {kind['to']}  {kind['flips']:,}"]
        for n, word in enumerate(shown):
            pieces += [" " if n else "  ", word + "," * (n < len(shown) - 1)]
        lines += filled(pieces)
    return lines


def _noise(report: Mapping[str, Any]) -> list[str]:
    lines = ["Noise floor: what re-asking alone flips"]
    rows = []
    for side, noise in report["noise"].items():
        if noise is not None:
            rows.append([f"re-asked in {side.upper()}", f"{noise['flips']:,} of {noise['n']:,}", _share(noise)])
    if rows:
        found = report["unchanged"]
        flips = [["A to B", f"{found['flips']:,} of {found['n']:,}", _share(found)]] if found["n"] else []
        lines += _table([*flips, *rows])
    lines += sentence(_FINDINGS[report["finding"]])
    if report["finding"] == "above" and any(d["key"].startswith("gate.") for d in report["differs"]):
        lines += sentence("The gate differs too; its flips are among them.")
    return lines + _sizes(report["unchanged"], report["noise"])


def _share(rate: Mapping[str, Any]) -> str:
    low, high = rate["interval"]
    return f"{rate['share']:.2%} (95%: {low:.2%} to {high:.2%})"


def _sizes(group: Mapping[str, Any], noise: Mapping[str, Any]) -> list[str]:
    """How far scores moved beside how far re-asking alone moves them."""
    sizes = {s["name"]: [_size(s["mean_size"])] for s in group["scores"] if s["n"]}
    asked = [side for side in ("a", "b") if noise[side] is not None and noise[side]["scores"]]
    for side in asked:
        found = {s["name"]: s["mean_size"] for s in noise[side]["scores"]}
        sizes = {name: [*row, _size(found.get(name))] for name, row in sizes.items()}
    if not asked or not sizes:
        return []
    head = ["", "A to B", *(f"re-asked in {side.upper()}" for side in asked)]
    return ["  Mean distance that a score moves", *_table([head, *([name, *row] for name, row in sizes.items())])]


def _size(size: float | None) -> str:
    return "-" if size is None else f"{size:.2f}"


def _scores(title: str, scores: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = ("moved", "by_1", "by_2", "up", "down")
    rows = [["", "pairs", "shift", "moved", "by 1", "by 2+", "up", "down"]]
    for item in scores:
        if item["n"]:
            shares = (f"{item[what]:.1%}" for what in shown)
            rows.append([item["name"], f"{item['n']:,}", _signed(item["mean_shift"], 2), *shares])
    return [title, *_table(rows)] if rows[1:] else []


def _answers(title: str, items: Sequence[Mapping[str, Any]], shares: Sequence[str]) -> list[str]:
    """Checks or choices: how many changed."""
    rows = [["", "pairs", *(share.replace("_", " ") for share in shares)]]
    for item in items:
        if item["n"]:
            rows.append([item["name"], f"{item['n']:,}", *(f"{item[share]:.1%}" for share in shares)])
    return [title, *_table(rows)] if rows[1:] else []


def _signed(number: float, digits: int) -> str:
    """With its sign, but no minus before a zero."""
    return f"{round(number, digits) + 0.0:+.{digits}f}"


def _yields(table: Mapping[str, Any]) -> list[str]:
    rows = [[table["by"], "judged A", "kept A", "yield A", "judged B", "kept B", "yield B", "points"]]
    for row in table["groups"][:_MOST_GROUPS]:
        rows.append(["(none)" if row["value"] is None else row["value"], *_yield(row)])
    rows.append(["all", *_yield(table["all"])])
    lines = ["Yield: kept of kept, review and dropped, over all rows of each run", *_table(rows)]
    more = len(table["groups"]) - _MOST_GROUPS
    return [*lines, f"  and {more:,} smaller groups; --json has all"] if more > 0 else lines


def _yield(row: Mapping[str, Any]) -> list[str]:
    shown = []
    for side in ("a", "b"):
        share = row[side]["yield"]
        shown += [f"{row[side]['judged']:,}", f"{row[side]['kept']:,}", "-" if share is None else f"{share:.1%}"]
    return [*shown, "-" if row["change"] is None else _signed(100 * row["change"], 1)]


def _table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows in columns that are as wide as their widest cell on a terminal, the first `left` of them flush left.

    The first column gets the room that the others leave.
    """
    others = [max(cells(row[n]) for row in rows) for n in range(1, len(rows[0]))]
    room = max(12, WIDTH - 2 - sum(width + 2 for width in others))
    return aligned([[cut(row[0], room), *row[1:]] for row in rows], left)
