"""The report on judge and people, and on lexical diversity: figures are the files' own, drawings hold them all, and
hostile names are text."""

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_run import OVER, decided, make_run, scored, triplets, write_labels

from coigw_judge.cli.main import main
from coigw_judge.people.calibration import file as calibrate_read
from coigw_judge.people.calibration.text import shown
from coigw_judge.report import tables
from coigw_judge.report.axes import BASE, LEFT, RIGHT, TOP, Axis, axis_for, lane, pairs, trade_off
from coigw_judge.report.diversity import tables as diversity_tables
from coigw_judge.report.examples import choose
from coigw_judge.report.figures import histogram
from coigw_judge.report.people import against_people
from coigw_judge.report.run_columns import shape_of
from coigw_judge.report.tally import count
from coigw_judge.run_folder.folder import Run, open_run

HOSTILE = "<script>window.pwned = 1</script>"
TURNING = "左\u202e右"
ROWS = 60
SCORES = np.clip(np.round(np.random.default_rng(4).normal(8, 1.3, (ROWS, 6))), 0, 10)
PEOPLE = np.clip(np.round(SCORES[:, 0] + np.random.default_rng(5).normal(0, 1, ROWS)), 0, 10)
MATTR = np.random.default_rng(6).uniform(0.4, 0.9, ROWS)


def verdicts() -> list[dict[str, Any]]:
    found = []
    for n, row in enumerate(SCORES):
        words = {"mattr": float(MATTR[n]), "ttr": float(MATTR[n]) / 2, "category": "诗歌" if n % 3 else HOSTILE}
        found.append(decided(scored(*row, **words)))
    found[0] |= {"answer.quality": None, "total": None, "decision": "unscored", "asked": ["answer"]}
    return found


def labels(folder: Path, **more: Any) -> str:
    """Two annotators, both with names that no page may believe, on every row."""
    given = []
    for n in range(ROWS):
        for who, off in ((HOSTILE, 0), (TURNING, n % 3 - 1)):
            own = {"id": f"t{n}", "annotator": who, **more}
            value = float(np.clip(PEOPLE[n] + off, 0, 10))
            given.append({**own, "item": "answer.quality", "value": value})
            given.append({**own, "item": "overall", "value": "accept" if value >= 8 else "refine"})
            given.append({**own, "item": "removal.facts", "value": bool(n % 7)})
    return write_labels(folder / "labels.jsonl", given)


def judged(folder: Path, name: str = "run", **more: Any) -> str:
    inputs = triplets(ROWS, genres=("散文", HOSTILE, "诗歌"))
    for row in inputs:
        row["annotator"] = HOSTILE
    inputs[3]["query"] = "请写：第3只表走得慢。它在抽屉里过了3个冬天。"
    return make_run(folder, inputs, verdicts(), name=name, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with all that calibrate can leave: calibration, drift with an alarm, leaks."""
    folder = tmp_path_factory.mktemp("people")
    run = judged(folder)
    golden = write_labels(
        folder / "golden.jsonl",
        [{"id": f"t{n}", "item": "query.quality", "value": min(10.0, SCORES[n, 2] + 2)} for n in range(ROWS)],
    )
    more = ["--golden", golden, "--annotators", "--recall", "0.9", "--resamples", "50"]
    assert main(["calibrate", run, "--labels", labels(folder, blind=False), *more]) == 1, "the golden records moved"
    assert main(["report", run]) == 0
    return run


@pytest.fixture(scope="module")
def page(run: str) -> str:
    return Path(run, "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "calibration.json").read_text(encoding="utf-8"))
    return found


def section(page: str, name: str) -> str:
    """The words of a section, tags aside."""
    inside = re.search(rf'<h2 id="{name}">.*?</section>', page, re.DOTALL)
    assert inside, name
    return html.unescape(re.sub(r"<[^>]+>", " ", inside[0]))


def test_the_command_says_how_the_page_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = judged(tmp_path)
    assert main(["calibrate", run, "--annotators"]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    command = said[said.index("coigw-judge ") :].split()
    assert main(command[1:]) == 0
    assert 'id="people"' in Path(run, "report.html").read_text(encoding="utf-8")


def test_every_items_agreement_stands_beside_its_ceiling(run: str, page: str, told: dict[str, Any]) -> None:
    read = calibrate_read.calibration(open_run(run))
    assert read is not None
    text, table = section(page, "people"), against_people(read).items
    assert [line.name for line in table.lines] == list(told["items"]) == ["overall", "answer.quality", "removal.facts"]
    quality = read.items["answer.quality"]
    assert (
        quality.spearman is not None and quality.spearman.value == told["items"]["answer.quality"]["spearman"]["value"]
    )
    alpha = told["items"]["answer.quality"]["between_annotators"]["interval"]
    assert f"{alpha['value']:.2f} [{alpha['low']:.2f}, {alpha['high']:.2f}]" in text
    assert shown(quality.spearman) in text and shown(quality.kappa) in text and "[" in shown(quality.spearman)
    judge, ceiling = table.lines[1].lanes
    assert judge is not None and ceiling is not None and table.axis is not None
    assert judge.dot == pytest.approx(table.axis.place(told["items"]["answer.quality"]["spearman"]["value"]))
    assert ceiling.dot == pytest.approx(table.axis.place(alpha["value"])) and ceiling.width > 0


def test_caveats_are_calibrates_own(page: str) -> None:
    text = section(page, "people")
    assert f"NOT BLIND: on {ROWS} records people saw the judge's scores first" in text
    assert "answer.quality: 1 of 60: unscored: the judge failed 1" in text and "never counted as low" in text
    assert "without a decision of the gate: unscored 1; left out" in text


def test_score_against_score_is_a_drawing_and_a_table_of_the_same(page: str, told: dict[str, Any]) -> None:
    points = [tuple(point) for point in told["items"]["answer.quality"]["points"]]
    assert told["items"]["answer.quality"]["range"] == [0, 10]
    drawn = pairs("answer.quality", points, (0, 10))
    assert drawn is not None and drawn.diagonal is not None
    assert len(drawn.rows) == len(drawn.heads) == 11 and drawn.heads[0] == "0"
    assert sum(float(cell) for _, cells in drawn.rows for cell in cells if cell) == ROWS - 1
    assert all(LEFT <= each.x <= RIGHT and TOP <= each.y <= BASE for each in drawn.circles)
    text = section(page, "people")
    assert drawn.words in text and "each put on the nearest step" in text
    assert page.count('<circle class="point"') >= len(drawn.circles)


def test_equal_numbers_lie_on_the_dashed_line() -> None:
    drawn = pairs("x", [(3, 3, 4), (8, 8, 1), (8, 6, 1)], (0, 10))
    assert drawn is not None and drawn.diagonal is not None
    x1, y1, x2, y2 = drawn.diagonal
    on = [abs((c.y - y1) - (c.x - x1) * (y2 - y1) / (x2 - x1)) < 1e-6 for c in drawn.circles]
    assert sorted(on) == [False, True, True]
    biggest = max(drawn.circles, key=lambda c: c.radius)
    assert biggest.title == "judge 3, people 3: 4" and biggest.radius == pytest.approx(2 * drawn.circles[-1].radius)
    assert drawn.words == "83% within half a point, 83% within 1; the judge gives 0.33 more on average"
    own = pairs("overall", [(52, 4, 1), (31, 2.5, 1)], None)
    assert own is not None and own.diagonal is None and "scales of their own" in own.words
    assert len(own.heads) <= 12 and pairs("x", [], (0, 10)) is None
    check = pairs("check", [(0, 1, 2), (1, 1, 3)], (0, 1))
    assert check is not None and check.heads == ("no", "yes") and check.words.startswith("60% alike; the judge gives")
    assert check.rows == (("yes", ("2", "3")), ("no", ("", "")))
    outside = pairs("x", [(3, 80, 1)], (0, 10))
    assert outside is not None and outside.diagonal is None, "people left the scale"


def test_the_gate_and_what_recall_costs(run: str, page: str, told: dict[str, Any]) -> None:
    text = section(page, "people")
    for key in ("kept", "kept_or_review"):
        for name in ("precision", "recall", "f1"):
            value = told["gate"][key][name]
            assert f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]" in text
    steps = told["regate"]["frontier"]
    assert steps == sorted(steps) and [r for _, r in steps] == sorted(r for _, r in steps) and len(steps) > 3
    accepted = [n for n in range(1, ROWS) if told_accept(n)]
    sums, least = SCORES.sum(axis=1), SCORES.min(axis=1)
    for total in range(61):
        for each in range(11):
            passed = [n for n in range(1, ROWS) if sums[n] >= total and least[n] >= each]
            recall = len(set(passed) & set(accepted)) / len(accepted)
            best = max((r for cost, r in steps if cost <= len(passed)), default=0)
            assert best >= recall - 1e-9, "no gate beats the line"
    whole = next(choice for choice in told["regate"]["choices"] if choice["wanted"] == 1)
    assert steps[-1] == [whole["cost"], 1.0]
    assert f"recall reaches 100% at {whole['cost']:,} rows to look at" in text
    assert "the gate by genre" in text.lower() and "散文" in text


def told_accept(n: int) -> bool:
    """Both must accept: a tie is a no."""
    return bool(PEOPLE[n] >= 8 and np.clip(PEOPLE[n] + n % 3 - 1, 0, 10) >= 8)


def test_a_trade_off_is_drawn_within_its_axes() -> None:
    drawn = trade_off([(10, 0.5), (40, 0.9)], [("80% wanted", 40, 0.9)], (90, 0.95))
    assert drawn is not None and drawn.now is not None and drawn.now[0] == RIGHT
    places = [tuple(map(float, place.split(","))) for place in drawn.line.split()]
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BASE for x, y in places)
    assert places[0] == (LEFT, BASE) and places[-1][0] == RIGHT
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert trade_off([], [], None) is None and trade_off([(0, 1.0)], [], None) is None


def test_lanes_lie_on_their_axis() -> None:
    assert [label for _, label in axis_for([-0.5]).ticks] == ["-0.5", "0", "1"]
    axis = axis_for([0.4, None, -0.6])
    assert (axis.low, axis.high) == (-1, 1) and axis.ticks == ((0, "-1"), (50, "0"), (100, "1"))
    assert axis_for([]) == axis_for([0.3]) == Axis(0, 1)
    assert Axis(0, 1).ticks == ((0, "0"), (50, "0.5"), (100, "1"))
    one = lane("judge", axis, 0.5, 0.0, 7.0)
    assert one is not None and (one.left, one.width, one.dot) == (50, 50, 75)
    alone = lane("judge", axis, 0.5, None, None)
    assert alone is not None and alone.width == 0
    assert lane("judge", axis, None, None, None) is None


def test_drift_and_leaks_are_shown(page: str) -> None:
    text = section(page, "people")
    assert "ALARM query.quality: the mean moved by" in text and "noise: not known" in text
    assert "Leaks in what annotators wrote" in text and "第3只表走得慢。它在抽屉里过了3个冬天。" in text


def test_hostile_names_are_text(page: str) -> None:
    body = page[: page.rindex("<script>")]
    assert "<script" not in body.lower()
    assert body.count(html.escape(HOSTILE, quote=False)) >= 4, "an annotator, a genre, a category, who wrote"
    assert "左⟦U+202E⟧右" in body and "\u202e" not in page


def test_a_run_that_nobody_calibrated_has_no_such_section(tmp_path: Path) -> None:
    run = make_run(tmp_path, triplets(3), [decided(scored(*row)) for row in SCORES[:3]])
    assert main(["report", run]) == 0
    page = Path(run, "report.html").read_text(encoding="utf-8")
    assert "#people" not in page and 'id="people"' not in page and 'id="words"' not in page


def test_the_gate_is_told_as_it_is_and_columns_that_no_row_has_are_not_drawn(tmp_path: Path) -> None:
    rows = [decided(scored(*row)) for row in SCORES[:5]]
    some = {"each": {"answer": 6, "query.quality": 9}, "total": None, "review": {"each": 1, "total": 2}}
    run = make_run(tmp_path, triplets(5), rows, gate=some)
    assert main(["report", run]) == 0
    page = Path(run, "report.html").read_text(encoding="utf-8")
    told = " ".join(section(page, "gate").split())
    assert "3 of 6 dimensions have a least score" in told and "below the sum" not in told
    assert "What is up to 1 below a score goes to people" in told
    assert "By genre" in page and "By category" not in page and "No row says its category." in page


def test_a_gate_on_expected_scores_is_told_by_what_it_saw(tmp_path: Path) -> None:
    """Rows whose sampled scores are the same: the gate saw 7.4 in one and 8.6 in the other."""
    same = dict.fromkeys(OVER, 8.5)
    rows = [
        decided(scored(*[8] * 6, expected={**same, "query.quality": value}, total=None, decision=decision))
        for value, decision in ((7.4, "dropped"), (8.6, "kept"), (None, "kept"))
    ]
    run = make_run(tmp_path, triplets(3), rows, gate={"each": 7.5, "total": None, "use": "expected"})
    there = open_run(run)
    shape = shape_of(there)
    near = [each for each in choose(there, shape, there.manifest) if each.kind == "near miss"]
    assert [(each.verdict["id"], each.below) for each in near] == [("t0", {"query.quality"})]
    assert near[0].lacks == pytest.approx(0.1)
    drawn = histogram("query.quality", count(there, shape, {}).scores["query.quality"], 7.5)
    assert drawn is not None and drawn.reached == pytest.approx(2 / 3) and drawn.mean == pytest.approx(8)
    assert main(["report", run]) == 0
    page = Path(run, "report.html").read_text(encoding="utf-8")
    assert '<dd class="few">8 (expected 7.40)</dd>' in page and page.count('<dd class="few">') == 1


def test_a_file_of_an_older_version_is_read_and_a_broken_one_is_named(
    tmp_path: Path, told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = judged(tmp_path)
    file = Path(run, "calibration.json")
    older = json.loads(json.dumps(told))
    del older["regate"]["frontier"], older["items"]["answer.quality"]["range"]
    older["later"] = older["items"]["overall"]["later"] = older["annotators"][0]["later"] = {"a newer version": 1}
    file.write_text(json.dumps(older), encoding="utf-8")
    assert main(["report", run]) == 0
    assert "Recall against review cost" not in Path(run, "report.html").read_text(encoding="utf-8")
    older["items"]["answer.quality"]["compared"] = "many"
    for text, said in ((json.dumps(older), "items.answer.quality.compared"), ("{", "the file"), ("[]", "the file")):
        file.write_text(text, encoding="utf-8")
        assert main(["report", run]) == 2
        error = capsys.readouterr().err
        assert said in error and f"coigw-judge calibrate {run} --labels FILE" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("name", "read"),
    [("calibration", calibrate_read.calibration), ("drift", calibrate_read.drift), ("writers", calibrate_read.writers)],
)
def test_a_file_that_is_read_and_written_again_is_the_same(run: str, name: str, read: Callable[[Run], Any]) -> None:
    text = Path(run, f"{name}.json").read_text(encoding="utf-8")
    assert calibrate_read.as_json(read(open_run(run))) == text


def test_long_tables_are_cut_and_say_so(tmp_path: Path, run: str, told: dict[str, Any]) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    crowd = [told["annotators"][0] | {"annotator": f"a{n}"} for n in range(tables.MOST_LINES + 3)]
    (copy / "calibration.json").write_text(json.dumps(told | {"annotators": crowd}), encoding="utf-8")
    assert main(["report", str(copy)]) == 0
    text = section((copy / "report.html").read_text(encoding="utf-8"), "people")
    assert "and 3 more; the JSON file in the run folder has all" in text
    words = text.split()
    assert f"a{tables.MOST_LINES - 1}" in words and f"a{tables.MOST_LINES}" not in words


def test_diversity_stands_side_by_side_without_a_better_direction(run: str, page: str) -> None:
    there = open_run(run)
    shape = shape_of(there)
    found = diversity_tables(count(there, shape, {}).diversity)
    assert [table.caption.partition(" (")[2].partition(")")[0] for table in found] == ["mattr", "ttr"]
    rows = verdicts()
    every = found[0].lines[0]
    for side, at in (("kept", 0), ("dropped", 2)):
        own = [row["mattr"] for row in rows if row["decision"] == side]
        assert every.cells[at] == str(len(own)) and own
        low, middle, high = np.quantile(own, [0.25, 0.5, 0.75], method="inverted_cdf")
        said = [float(word) for word in re.findall(r"[\d.]+", every.cells[at + 1])]
        assert said == pytest.approx([middle, low, high], abs=0.0051)
    assert [line.name for line in found[0].lines] == ["all", "诗歌", HOSTILE]
    text = section(page, "words")
    assert "Neither more nor less is better" in text and "median" in text
    lanes = [each for line in found[0].lines for each in line.lanes]
    assert found[0].axis == Axis(0.4, 1) or found[0].axis == Axis(0.5, 1)
    assert len(lanes) == 6 and all(each is None or 0 < each.dot < 100 for each in lanes)
