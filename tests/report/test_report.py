"""The report: its figures against a plain count of the same rows, the rows it shows, and what hostile text may not do."""

import html
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from run_output import cut_up

from coigw_judge import report
from coigw_judge.cli.main import main
from coigw_judge.report import examples, figures, tally
from coigw_judge.report.page import SHOWN_CHARS, visible
from coigw_judge.report.run_columns import shape_of
from coigw_judge.report.tally import GroupTally
from coigw_judge.run_folder.folder import open_run

NAUGHTY = (
    "<script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "</p></article></body>",
    "'; window.pwned = 1; //",
    "{{ 7 * 7 }}{% raw %}",
    "左\u202e右\u2066\u2069",
    "\x00\x07\x1b[31m",
    "\u0600\u200b\ufeff",
    "Z̮̞̠͙͔ͅA͎̯͍L̡G̮O 👨‍👩‍👧 ﷽",
    "javascript:window.pwned=1",
    "<svg/onload=window.pwned=1>",
    "]]><!--",
)


def rows(count: int) -> list[dict[str, Any]]:
    dice = random.Random(7)
    genres = ["诗歌", "散文", NAUGHTY[0], "科幻", None]
    made: list[dict[str, Any]] = [
        {
            "id": f"t{n}",
            "query": f"写第{n}件旧物",
            "thought": f"先想第{n}种旧物",
            "answer": f"第{n}只表走得慢。" + "慢" * dice.randrange(2000),
            "genre": dice.choice(genres),
            "source": dice.choice(["豆瓣", "知乎"]),
            "published_at": dice.choice(["2023年5月1日", "2024-01-31"]),
        }
        for n in range(count)
    ]
    for n, text in enumerate(NAUGHTY):
        made.append({"id": text, "query": text, "thought": f"{text}{n}", "answer": f"{text} {n}", "genre": text})
    made += [
        {"id": "long", "query": "题", "thought": "思", "answer": "长" * (SHOWN_CHARS + 1)},
        {"id": "x", "answer": 3},
    ]
    return [*made, made[0]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    folder = tmp_path_factory.mktemp("report")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(400))
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    job = {
        "name": "seen",
        "input": {"paths": ["rows.jsonl"]},
        "rubrics": ["coherence", "answer", "query", "thought"],
        "gate": {"over": ["answer", "query", "thought"], "total": 50, "each": 8, "review": {"total": 2, "each": 1}},
        "judge": {"engine": "scripted_judge:ScriptedJudge"},
        "store": "facts",
        "out": "runs",
    }
    (folder / "job.yaml").write_text(json.dumps(job), encoding="utf-8")
    assert main(["run", str(folder / "job.yaml")]) == 0
    return next((folder / "runs").iterdir())


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def verdicts(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run / "verdicts").to_pylist()
    return found


def opened(run: Path) -> tuple[Any, Any]:
    there = open_run(str(run))
    return there, shape_of(there)


def test_the_counts_are_those_of_the_rows(run: Path, verdicts: list[dict[str, Any]]) -> None:
    there, shape = opened(run)
    counted = tally.count(there, shape, {"genre": "genre"})
    assert counted.decisions == Counter(row["decision"] for row in verdicts)
    judged = [row for row in verdicts if row["decision"] in ("kept", "review", "dropped")]
    for name in shape.dimensions:
        plain = Counter((row[name], row["decision"]) for row in judged if row[name] is not None)
        assert counted.scores[name] == plain and plain
    assert counted.totals == Counter((row["total"], row["decision"]) for row in judged if row["total"] is not None)
    for name in shape.checks:
        assert counted.checks[name] == Counter(row[name] for row in verdicts if row[name] is not None)
    for genre in ("诗歌", None):
        group = counted.groups["genre"][genre or "(none)"]
        same = [row for row in verdicts if row["genre"] == genre]
        totals = [row["total"] for row in same if row["total"] is not None]
        assert group.decisions == Counter(row["decision"] for row in same)
        assert (group.totals, group.total) == (len(totals), sum(totals))
    longer = sum(row["chars"] is not None and 1000 <= row["chars"] < 3000 for row in verdicts)
    assert counted.lengths["1,000-2,999"].rows == longer > 0
    assert sum(group.rows for group in counted.lengths.values()) == sum(row["chars"] is not None for row in verdicts)


def test_the_funnel_ends_at_what_was_kept(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    steps = figures.funnel(opened(run)[0].manifest)
    assert steps[0].count == manifest["rows_in"] and steps[-1].count == manifest["decisions"]["kept"]
    assert [step.count for step in steps] == sorted((step.count for step in steps), reverse=True)


def test_near_misses_are_those_that_lack_the_least(run: Path, verdicts: list[dict[str, Any]]) -> None:
    there, shape = opened(run)
    shown = examples.choose(there, shape, there.manifest)

    def lacks(row: dict[str, Any]) -> float:
        scores = [row[name] for name in shape.gate.floors]
        return max(0, 50 - sum(scores)) + sum(max(0, 8 - score) for score in scores)

    near = [each for each in shown if each.kind == "near miss"]
    missed = [row for row in verdicts if row["decision"] in ("dropped", "review") and row["total"] is not None]
    best = sorted(lacks(row) for row in missed)[: examples.KINDS["near miss"]]
    assert [each.lacks for each in near] == best and best
    clear = [each.verdict["total"] for each in shown if each.kind == "clear pass"]
    kept = sorted((row["total"] for row in verdicts if row["decision"] == "kept"), reverse=True)
    assert clear == kept[: examples.KINDS["clear pass"]]
    assert len({each.verdict["row_id"] for each in shown}) == len(shown)
    assert {each.kind for each in shown} >= {"near miss", "clear pass", "duplicate", "unreadable"}


def test_a_row_is_shown_with_its_own_texts(run: Path) -> None:
    there, shape = opened(run)
    given = {row["id"]: row for row in rows(400)}
    shown = examples.choose(there, shape, there.manifest)
    for each in shown:
        if each.verdict["decision"] != "unreadable":
            assert each.texts["answer"] == given[each.verdict["id"]]["answer"]
    assert next(each for each in shown if each.kind == "unreadable").missing == "answer is a number, not text"


def test_texts_that_are_gone_are_said_to_be_gone(run: Path) -> None:
    there, shape = opened(run)
    manifest = there.manifest.model_copy(update={"job_file": "/nowhere/job.yaml"})
    shown = examples.choose(there, shape, manifest)
    assert shown and all(not each.texts and "no such file" in each.missing for each in shown)


def test_hostile_text_is_text(page: str) -> None:
    body = page[: page.rindex("<script>")]
    assert "<script" not in body.lower() and "<img" not in body and "<svg/" not in body and "{{ 7 * 7 }}" in body
    assert html.escape("<script>window.pwned = 1</script>", quote=False) in body
    assert "⟦U+202E⟧" in page and "⟦U+0000⟧" in page and "⟦U+001B⟧" in page
    for sign in "\u202e\u2066\u2069\x00\x07\x1b\u200b\ufeff":
        assert sign not in page
    assert "👨‍👩‍👧" in page, "what joins emoji is left alone"


def test_yields_stand_by_source_and_month(page: str) -> None:
    for words in ("By source", "豆瓣", "知乎", "By month", "2023-05", "2024-01"):
        assert words in page


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#|data:,)", page.replace('"><img src=x', ""))


def test_a_cut_text_says_how_to_see_the_rest(page: str) -> None:
    shown = "<bdi>long</bdi>" in page
    assert shown == ("1 more characters: coigw-judge show" in page)
    assert visible("甲\ud800") == "甲⟦U+D800⟧"


def test_every_column_may_group(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--by", "action"]) == 0
    assert capsys.readouterr().out.strip() == f"{run}/report.html"
    assert "By action" in (run / "report.html").read_text(encoding="utf-8")
    assert main(["report", str(run), "--by", "actoin"]) == 2
    assert "did you mean action?" in capsys.readouterr().err
    assert main(["report", str(run.parent)]) == 2
    assert "is no run folder" in capsys.readouterr().err
    assert report.build(str(run)).endswith("report.html")


def test_many_values_of_a_column_are_bounded(run: Path, tmp_path: Path) -> None:
    there, shape = opened(cut_up(run, tmp_path / "cut", 50))
    counted = tally.count(there, shape, {"id": "id"}, most_groups=10)
    assert len(counted.groups["id"]) <= 20
    whole = sum(group.rows for group in counted.groups["id"].values()) + counted.folded["id"].rows
    assert whole == counted.decisions.total()


def test_histograms_stack_to_the_whole() -> None:
    scores = Counter({(8.0, "kept"): 3, (8.0, "review"): 1, (7.5, "dropped"): 4, (10.0, "kept"): 2})
    drawn = figures.histogram("answer.quality", scores, 8)
    assert drawn is not None and drawn.rows == 10 and drawn.reached == pytest.approx(0.6)
    assert drawn.mean == pytest.approx((4 * 8 + 4 * 7.5 + 2 * 10) / 10)
    left_of_mark = [rect for rect in drawn.rects if rect.x + rect.width <= (drawn.mark or 0)]
    assert [rect.kind for rect in left_of_mark] == ["dropped"], "the mark stands before the bin of its score"
    assert figures.histogram("x", Counter(), 8) is None


def test_the_audit_counts_what_the_paper_wants() -> None:
    groups = {
        name: GroupTally(decisions=Counter(kept=n, dropped=5))
        for name, n in {"诗歌": 30, "散文": 14, "科幻": 0}.items()
    }
    found = figures.spread("genre", groups)
    assert found is not None and found.few == (("散文", 14),) and found.largest == "诗歌" and found.values == 2
    even = figures.spread("genre", {str(n): GroupTally(decisions=Counter(kept=5)) for n in range(4)})
    assert even is not None and even.effective == pytest.approx(4)
