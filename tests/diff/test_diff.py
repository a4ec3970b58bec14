"""Two runs compared: verdicts made by hand, the numbers known beforehand; and one real pair of runs."""

import json
import re
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coigw_judge.cli.main import main
from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.diff import compare
from coigw_judge.diff import report as diff_report
from coigw_judge.diff import rows as diff_rows
from coigw_judge.diff import text as diff_text
from coigw_judge.errors import FixJob, FixStore
from coigw_judge.prompting.rubric import builtin
from coigw_judge.run_folder.manifest import Manifest
from coigw_judge.storage import hash_ranges
from coigw_judge.text.terminal import cells

Row = dict[str, Any]
TYPES = {
    "row_id": pa.string(),
    "id": pa.string(),
    "decision": pa.string(),
    "genre": pa.string(),
    "record": pa.string(),
    "repeat_decision": pa.string(),
    "repeat_scores": pa.map_(pa.string(), pa.float64()),
    "answer.quality": pa.float64(),
    "query.quality": pa.float64(),
    "coherence.fits": pa.bool_(),
    "genre.genre": pa.string(),
    "flags": pa.list_(pa.string()),
}
OLD = ("record", "repeat_decision", "repeat_scores")
"""What older runs do not have."""
MANIFEST: dict[str, Any] = {
    "run": "r",
    "rows_in": 3,
    "rubrics": {"answer": "a" * 32, "query": "b" * 32},
    "judge": {"engine": "vllm", "model": "m", "revision": "1", "fingerprint": "f" * 32, "meaningless": False},
    "gate": {"over": None, "total": 50, "each": 8},
    "configuration": {"input": {"paths": ["rows.jsonl"], "columns": {}}, "reasons": "short"},
    "complete": True,
}


def rows(*decisions: str, **more: Any) -> list[Row]:
    """Rows with ids r0, r1, ... and these decisions; `more` are values of all of them."""
    return [
        {"row_id": f"x:{n}", "id": f"r{n}", "decision": d, "genre": "散文", "record": f"{n:032x}", **more}
        for n, d in enumerate(decisions)
    ]


def make(folder: Path, found: list[Row], parts: int = 1, without: tuple[str, ...] = (), **told: Any) -> str:
    """A run folder with these verdicts in some parts, and a manifest with what is `told` otherwise."""
    names = [name for name in TYPES if name not in without]
    (folder / "verdicts").mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        table = pa.table({n: pa.array([row.get(n) for row in found[part::parts]], TYPES[n]) for n in names})
        pq.write_table(table, folder / "verdicts" / f"part-{part:05d}.parquet")
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, **told}, ensure_ascii=False))
    return str(folder)


def compared(tmp_path: Path, a: list[Row], b: list[Row], **options: Any) -> dict[str, Any]:
    """The report on two runs of these verdicts."""
    return compare.compare((make(tmp_path / "a", a), make(tmp_path / "b", b)), **options)


def kinds(group: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """The ids of every kind of flip."""
    return {(kind["from"], kind["to"]): [row["id"] for row in kind["ids"]] for kind in group["kinds"]}


class TestFlips:
    def test_only_changes_between_kept_review_and_dropped_are_flips(self, tmp_path):
        pairs = [(a, b) for a in DECISIONS for b in DECISIONS]
        report = compared(tmp_path, rows(*(a for a, _ in pairs)), rows(*(b for _, b in pairs)))
        judged = ("kept", "review", "dropped")
        wanted = {p: [f"r{n}"] for n, p in enumerate(pairs) if p[0] != p[1] and set(p) <= set(judged)}
        assert len(wanted) == 6 and kinds(report["unchanged"]) == wanted
        assert (report["unchanged"]["n"], report["unchanged"]["flips"]) == (9, 6)
        assert report["unchanged"]["share"] == 6 / 9
        both_ways = [
            report["unchanged"][k] for k in ("kept_to_not_kept", "not_kept_to_kept", "between_review_and_dropped")
        ]
        assert both_ways == [2, 2, 2]
        assert report["transitions"] == {a: dict.fromkeys(DECISIONS, 1) for a in DECISIONS}

    def test_flips_of_changed_records_stand_apart(self, tmp_path):
        b = rows("dropped", "dropped", "kept")
        b[1]["record"] = "f" * 32
        report = compared(tmp_path, rows("kept", "kept", "kept"), b)
        assert kinds(report["unchanged"]) == {("kept", "dropped"): ["r0"]}
        assert kinds(report["changed"]) == {("kept", "dropped"): ["r1"]}
        assert (report["unchanged"]["n"], report["changed"]["n"]) == (2, 1)
        assert (report["join"]["unchanged"], report["join"]["changed"]) == (2, 1)
        assert report["transitions"] == {"kept": {"dropped": 2, "kept": 1}}
        text = diff_text.as_text(report)
        assert "texts: 2 the same, 1 changed" in text
        assert text.index("Flips of records whose texts changed") > text.index("r0")

    def test_a_row_that_became_readable_has_changed(self, tmp_path):
        report = compared(tmp_path, rows("unreadable", record=None), rows("kept"))
        assert (report["join"]["changed"], report["unchanged"]["n"], report["changed"]["n"]) == (1, 0, 0)
        assert rows("kept")[0]["record"] and report["finding"] == "nothing judged in both"

    @pytest.mark.parametrize("old", ["a", "b", "both"])
    def test_runs_that_do_not_say_what_the_texts_were(self, tmp_path, old):
        a, b = rows("kept", "dropped"), rows("dropped", "dropped", record="f" * 32)
        folders = (
            make(tmp_path / "a", a, without=OLD if old != "b" else ()),
            make(tmp_path / "b", b, without=OLD if old != "a" else ()),
        )
        report = compare.compare(folders)
        assert not report["join"]["texts_known"] and report["join"]["changed"] == 0
        assert kinds(report["unchanged"]) == {("kept", "dropped"): ["r0"]}
        text = diff_text.as_text(report)
        assert "an older run does not say" in text and "whose texts are the same" not in text

    def test_the_first_ids_by_name_are_held_and_all_are_written(self, tmp_path):
        count = 30
        many = rows(*["kept"] * count)
        for buckets in (1, 4):
            report = compared(
                tmp_path, many, rows(*["dropped"] * count), ids=7, ids_to=tmp_path / "flips.jsonl", buckets=buckets
            )
            assert kinds(report["unchanged"])["kept", "dropped"] == sorted(row["id"] for row in many)[:7]
            assert report["unchanged"]["kinds"][0]["flips"] == count and report["ids_bound"] == 7
            lines = [json.loads(line) for line in (tmp_path / "flips.jsonl").read_text().splitlines()]
            assert {line["id"] for line in lines} == {row["id"] for row in many} and len(lines) == count
            assert lines[0].keys() == {"id", "row_id", "from", "to", "changed"}

    def test_no_ids_at_all(self, tmp_path):
        report = compared(tmp_path, rows("kept"), rows("dropped"), ids=0)
        assert report["unchanged"]["kinds"] == [{"from": "kept", "to": "dropped", "flips": 1, "ids": []}]
        assert "kept -> dropped  1\n" in diff_text.as_text(report, 0)


class TestJoin:
    def test_rows_join_on_id_wherever_they_stand(self, tmp_path):
        a = rows("kept", "dropped", "review")
        b = [{**row, "row_id": f"other:{n}"} for n, row in enumerate(reversed(a))]
        report = compared(tmp_path, a, b)
        assert report["join"]["on"] == {"id": 3, "row_id": 0} and report["unchanged"]["flips"] == 0

    def test_rows_without_id_join_on_row_id_and_are_counted(self, tmp_path):
        a, b = rows("kept", "kept", "kept"), rows("dropped", "kept", "kept")
        a[0]["id"] = b[0]["id"] = a[1]["id"] = None
        report = compared(tmp_path, a, b)
        assert report["join"]["on"] == {"id": 1, "row_id": 1}
        assert report["join"]["no_id"] == {"a": 2, "b": 1}
        assert report["join"]["only_in"] == {"a": {"kept": 1}, "b": {"kept": 1}}
        assert report["unchanged"]["kinds"][0]["ids"] == [{"id": None, "row_id": "x:0"}]
        assert "kept -> dropped  1  x:0" in diff_text.as_text(report)

    def test_ids_that_stand_twice_in_a_run_join_on_row_id(self, tmp_path):
        a, b = rows("kept", "kept", "kept", "kept"), rows("kept", "dropped", "kept", "review")
        for found in (a, b):
            found[0]["id"] = found[1]["id"] = "same"
        b[0]["row_id"] = "y:9"
        report = compared(tmp_path, a, b)
        assert report["join"]["repeated_id"] == {"a": 2, "b": 2}
        assert report["join"]["on"] == {"id": 2, "row_id": 1}
        assert kinds(report["unchanged"]) == {("kept", "dropped"): ["same"], ("kept", "review"): ["r3"]}
        assert report["join"]["only_in"] == {"a": {"kept": 1}, "b": {"kept": 1}}
        assert "stands more than once in its run: 2 rows in A, 2 in B" in diff_text.as_text(report)

    def test_an_id_that_stands_twice_in_one_run_only(self, tmp_path):
        a, b = rows("kept", "kept"), rows("dropped")
        a[1]["id"] = "r0"
        report = compared(tmp_path, a, b)
        assert report["join"]["on"] == {"id": 0, "row_id": 1} and report["join"]["repeated_id"] == {"a": 2, "b": 0}
        assert report["unchanged"]["flips"] == 1

    @pytest.mark.parametrize("buckets", [1, 5])
    def test_a_run_without_any_id_is_joined_on_row_id_as_a_whole(self, tmp_path, buckets):
        a, b = rows("kept", "kept", id=None), rows("kept", "dropped")
        report = compared(tmp_path, a, b, buckets=buckets)
        assert report["join"]["on"] == {"id": 0, "row_id": 2} and report["join"]["no_id"] == {"a": 2, "b": 0}
        assert report["unchanged"]["flips"] == 1
        assert "no row of one run has an id" in diff_text.as_text(report)

    def test_rows_of_one_run_only_are_counted_by_decision(self, tmp_path):
        a, b = rows("kept", "dropped", "pending", "kept"), rows("kept")
        report = compared(tmp_path, a, b)
        assert report["join"]["only_in"] == {"a": {"kept": 1, "dropped": 1, "pending": 1}, "b": {}}
        assert report["join"]["rows"] == {"a": 4, "b": 1} and report["join"]["joined"] == 1
        assert "only in A: kept 1, dropped 1, pending 1" in diff_text.as_text(report)

    def test_runs_that_share_no_row_are_refused(self, tmp_path):
        with pytest.raises(FixStore, match="share no row: no id stands in both; give two runs over the same records"):
            compared(tmp_path, rows("kept"), rows("kept", id="other", row_id="y:0"))
        with pytest.raises(FixStore, match="share no row: no row_id stands in both"):
            compared(tmp_path, rows("kept", id=None), rows("kept", id="other", row_id="y:0"))

    def test_a_run_without_rows_shares_none(self, tmp_path):
        for buckets in (1, 3):
            with pytest.raises(FixStore, match="share no row"):
                compared(tmp_path, [], rows("kept"), buckets=buckets)


class TestShifts:
    def test_scores_of_unchanged_records(self, tmp_path):
        before, after = [8, 8, 8, 8, 8, None, 8], [8, 9, 6.5, 8.5, 10, 9, None]
        a, b = rows(*["dropped"] * 7), rows(*["dropped"] * 7)
        for n in range(7):
            a[n]["answer.quality"], b[n]["answer.quality"] = before[n], after[n]
        report = compared(tmp_path, a, b)
        found = next(s for s in report["unchanged"]["scores"] if s["name"] == "answer.quality")
        assert found == {
            "name": "answer.quality", "n": 5, "mean_shift": (1 - 1.5 + 0.5 + 2) / 5, "mean_size": 5 / 5,
            "moved": 4 / 5, "by_1": 2 / 5, "by_2": 1 / 5, "up": 3 / 5, "down": 1 / 5,
        }  # fmt: skip
        nothing = next(s for s in report["unchanged"]["scores"] if s["name"] == "query.quality")
        assert nothing["n"] == 0 and nothing["mean_shift"] is None
        text = diff_text.as_text(report)
        assert re.search(r"answer\.quality +5 +\+0\.40 +80\.0% +40\.0% +20\.0% +60\.0% +20\.0%\n", text)
        assert "query.quality" not in text.partition("Scores")[2]

    def test_scores_of_changed_records_are_counted_apart(self, tmp_path):
        a, b = rows("kept", "kept"), rows("kept", "kept")
        a[0]["answer.quality"], b[0]["answer.quality"], b[0]["record"] = 8, 10, "f" * 32
        a[1]["answer.quality"], b[1]["answer.quality"] = 8, 8
        report = compared(tmp_path, a, b)
        shifts = [report[group]["scores"][0]["mean_shift"] for group in ("unchanged", "changed")]
        assert shifts == [0, 2]

    def test_nan_is_no_score(self, tmp_path):
        a, b = rows("kept", "kept", **{"answer.quality": 7}), rows("kept", "kept", **{"answer.quality": float("nan")})
        b[1]["answer.quality"] = 7
        assert compared(tmp_path, a, b)["unchanged"]["scores"][0]["n"] == 1

    def test_checks_and_choices(self, tmp_path):
        a, b = rows(*["kept"] * 5), rows(*["kept"] * 5)
        values = [(True, False), (False, True), (True, True), (None, True), (False, True)]
        for n, (before, after) in enumerate(values):
            a[n]["coherence.fits"], b[n]["coherence.fits"] = before, after
            a[n]["genre.genre"], b[n]["genre.genre"] = "诗", [None, "诗", "小说", "诗", "诗"][n]
        group = compared(tmp_path, a, b)["unchanged"]
        assert group["checks"] == [
            {"name": "coherence.fits", "n": 4, "changed": 3 / 4, "to_true": 0.5, "to_false": 0.25}
        ]
        assert group["choices"] == [{"name": "genre.genre", "n": 4, "changed": 0.25}]

    def test_scores_that_one_run_lacks_are_named(self, tmp_path):
        a = make(tmp_path / "a", rows("kept"), without=("query.quality", "coherence.fits"))
        b = make(tmp_path / "b", rows("kept"), rubrics={"answer": "a" * 32})
        report = compare.compare((a, b))
        assert report["only_in"] == {"a": [], "b": ["query.quality", "coherence.fits"]}
        assert "scored only in B: query.quality, coherence.fits" in diff_text.as_text(report)

    def test_a_name_that_is_a_score_here_and_a_check_there_is_not_compared(self, tmp_path, monkeypatch):
        a = make(tmp_path / "a", rows("kept", **{"coherence.fits": True}))
        monkeypatch.setitem(TYPES, "coherence.fits", pa.int64())
        b = make(tmp_path / "b", rows("kept", **{"coherence.fits": 1}))
        report = compare.compare((a, b))
        assert report["unchanged"]["checks"] == []
        assert report["only_in"] == {"a": ["coherence.fits"], "b": ["coherence.fits"]}


class TestYield:
    def test_kept_of_what_was_judged_by_genre(self, tmp_path):
        a = rows("kept", "kept", "dropped", "review", "unscored", "kept", "duplicate")
        b = rows("kept", "dropped", "dropped", "dropped", "kept", "kept", "duplicate")
        for n, genre in enumerate(["诗", "诗", "诗", "小说", "小说", None, "信"]):
            a[n]["genre"] = b[n]["genre"] = genre
        found = compared(tmp_path, a, b)["yield"]
        by_value = {row["value"]: row for row in found["groups"]}
        assert [row["value"] for row in found["groups"]] == ["诗", "小说", None]
        assert by_value["诗"]["a"] == {"judged": 3, "kept": 2, "yield": 2 / 3}
        assert by_value["诗"]["b"] == {"judged": 3, "kept": 1, "yield": 1 / 3}
        assert by_value["诗"]["change"] == 1 / 3 - 2 / 3
        assert by_value["小说"] == {
            "value": "小说", "a": {"judged": 1, "kept": 0, "yield": 0}, "b": {"judged": 2, "kept": 1, "yield": 0.5}, "change": 0.5,
        }  # fmt: skip
        assert found["all"]["a"] == {"judged": 5, "kept": 3, "yield": 0.6}
        assert found["all"]["b"] == {"judged": 6, "kept": 3, "yield": 0.5}

    def test_a_genre_of_one_run_only(self, tmp_path):
        report = compared(tmp_path, rows("kept", "kept"), rows("kept", "kept", genre="诗"))
        assert all(row["change"] is None for row in report["yield"]["groups"])
        assert re.search(r"诗 +0 +0 +- +2 +2 +100\.0% +-\n", diff_text.as_text(report))

    def test_by_a_check(self, tmp_path):
        a = rows("kept", "dropped", "kept", **{"coherence.fits": True})
        a[2]["coherence.fits"] = False
        found = compared(tmp_path, a, a, by="coherence.fits")["yield"]
        assert {row["value"]: row["a"]["judged"] for row in found["groups"]} == {"true": 2, "false": 1}

    def test_columns_of_other_kinds_and_unknown_ones(self, tmp_path, capsys):
        folders = [make(tmp_path / "a", rows("kept")), make(tmp_path / "b", rows("kept"), without=("genre",))]
        assert main(["diff", folders[0], folders[0], "--by", "gerne"]) == 2
        assert "--by gerne: the verdicts of" in (told := capsys.readouterr().err) and "did you mean genre?" in told
        assert main(["diff", *folders]) == 2
        assert f"--by genre: the verdicts of {folders[1]} have no such column" in capsys.readouterr().err
        for name, kind in (("flags", "list"), ("answer.quality", "double")):
            with pytest.raises(FixJob, match=rf"--by {name}: is a column of {kind}.*; give one of texts"):
                compare.compare((folders[0], folders[0]), by=name)

    def test_a_column_of_too_many_values_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(compare, "MAX_GROUPS", 3)
        a = rows(*["kept"] * 4)
        assert len(compared(tmp_path, a[:3], a[:3], by="id")["yield"]["groups"]) == 3
        with pytest.raises(FixJob, match="--by id: has more than 3 values"):
            compared(tmp_path, a, a, by="id", buckets=3)


def re_asked(n: int, flipped: int, size: float = 0.0) -> list[Row]:
    """Kept rows that were re-asked, of which some were dropped the second time."""
    found = rows(*["kept"] * n, **{"answer.quality": 8.0})
    for at, row in enumerate(found):
        row["repeat_decision"] = "dropped" if at < flipped else "kept"
        row["repeat_scores"] = [("answer.quality", 8.0 + (size if at % 2 else -size))]
    return found


def flipped(found: list[Row], n: int) -> list[Row]:
    """The same rows, the first n dropped."""
    return [{**row, "decision": "dropped" if at < n else "kept"} for at, row in enumerate(found)]


class TestNoise:
    def test_what_re_asking_alone_flips(self, tmp_path):
        a = rows("kept", "dropped", "review", "kept", "unscored", "kept", **{"answer.quality": 8.0})
        again = ["dropped", "dropped", "kept", None, "kept", "unscored"]
        for n, row in enumerate(a):
            row["repeat_decision"] = again[n]
        a[0]["repeat_scores"] = [("answer.quality", 6.0), ("query.quality", 1.0)]
        a[2]["repeat_scores"] = [("answer.quality", 9.0), ("unknown.item", 1.0)]
        folders = (make(tmp_path / "a", a, repeat=0.02), make(tmp_path / "b", rows(*["kept"] * 6), without=OLD))
        report = compare.compare(folders)
        assert report["noise"]["b"] is None
        noise = report["noise"]["a"]
        assert (noise["n"], noise["flips"], noise["share"], noise["asked"]) == (3, 2, 2 / 3, 0.02)
        assert noise["interval"] == diff_report.wilson(2, 3)
        assert noise["scores"] == [{"name": "answer.quality", "n": 2, "mean_size": 1.5}]

    @pytest.mark.parametrize(
        "noisy, flips, finding, said",
        [
            (20, 500, "above", "The flips exceed what re-asking alone makes"),
            (20, 20, "not told apart", "The flips cannot be told from what re-asking alone makes"),
            (200, 20, "below", "The flips are fewer than re-asking everything makes"),
        ],
    )
    def test_whether_flips_exceed_the_floor(self, tmp_path, noisy, flips, finding, said):
        a = re_asked(1000, noisy)
        report = compared(tmp_path, a, flipped(rows(*["kept"] * 1000), flips))
        assert report["finding"] == finding and said in " ".join(diff_text.as_text(report).split())

    def test_the_higher_floor_of_the_two_runs_counts(self, tmp_path):
        a, b = re_asked(1000, 20), flipped(re_asked(1000, 0), 100)
        for at, row in enumerate(b):
            row["repeat_decision"] = "review" if at < 90 else row["decision"]
        report = compared(tmp_path, a, b)
        assert report["noise"]["a"]["share"] == 0.02 and report["noise"]["b"]["share"] == 0.09
        assert report["finding"] == "not told apart"

    def test_flips_of_changed_records_are_none_of_the_finding(self, tmp_path):
        a, b = re_asked(400, 4), flipped(rows(*["kept"] * 400, record="f" * 32), 300)
        b[300:] = rows(*["kept"] * 400)[300:]
        report = compared(tmp_path, a, b)
        assert report["changed"]["share"] == 1 and report["unchanged"]["share"] == 0
        assert report["finding"] == "not told apart"

    @pytest.mark.parametrize("without", [(), OLD])
    def test_no_floor_is_known_where_nothing_was_re_asked(self, tmp_path, without):
        folder = make(tmp_path / "a", rows("kept"), without=without)
        report = compare.compare((folder, folder))
        assert report["noise"] == {"a": None, "b": None} and report["finding"] == "no noise floor"
        assert "`samples: {repeat: 0.02}`" in diff_text.as_text(report)

    def test_the_gate_is_named_where_it_differs_too(self, tmp_path):
        a = make(tmp_path / "a", re_asked(500, 1))
        b = make(tmp_path / "b", flipped(rows(*["kept"] * 500), 100), gate={"total": 48, "each": 8})
        assert "The gate differs too; its flips are among them." in diff_text.as_text(compare.compare((a, b)))

    def test_noise_stands_beside_the_shifts(self, tmp_path):
        a, b = re_asked(10, 0, size=0.5), re_asked(10, 0, size=1.0)
        text = diff_text.as_text(compared(tmp_path, a, b))
        assert re.search(r" +A to B +re-asked in A +re-asked in B\n +answer\.quality +0\.00 +0\.50 +1\.00\n", text)

    @pytest.mark.parametrize(
        "k, n, low, high",
        [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (1, 100, 0.0018, 0.0545)],
    )
    def test_wilson_as_tables_have_it(self, k, n, low, high):
        assert diff_report.wilson(k, n) == pytest.approx([low, high], abs=5e-5)

    @given(st.integers(1, 10**6), st.floats(0, 1))
    def test_an_interval_holds_its_share_and_stays_within_bounds(self, n, share):
        k = round(n * share)
        found = diff_report.wilson(k, n)
        assert found is not None and 0 <= found[0] <= k / n <= found[1] <= 1


def differences(a: Row, b: Row) -> list[dict[str, Any]]:
    """What two manifests say differently."""
    return diff_report.differences(Manifest.model_validate(a), Manifest.model_validate(b))


class TestWhatDiffers:
    def test_nothing(self):
        assert differences(MANIFEST, {**MANIFEST, "run": "other", "seconds": {"fill": 3}}) == []

    def test_rubrics_judge_gate_rows_and_the_rest_in_this_order(self):
        b = {
            **MANIFEST,
            "versions": {"vllm": "1"},
            "store": "elsewhere",
            "configuration": {"input": {"paths": ["new.jsonl"], "columns": {}}, "reasons": "full"},
            "rows_in": 4,
            "gate": {"over": None, "total": 48, "each": {"answer.quality": 8}},
            "judge": {**MANIFEST["judge"], "model": "other", "fingerprint": "0" * 32},
            "rubrics": {"answer": "a" * 32, "query": "c" * 32, "thought": "d" * 32},
            "requests": {"answer": "1"},
        }
        found = {d["key"]: (d["a"], d["b"]) for d in differences(MANIFEST, b)}
        assert list(found) == [
            "rubrics.query", "rubrics.thought", "judge.model", "judge.fingerprint", "gate.total", "gate.each",
            "gate.each.answer.quality", "rows_in", "input.paths", "reasons", "store", "versions.vllm",
        ]  # fmt: skip
        assert found["rubrics.thought"] == (None, "d" * 32) and found["gate.total"] == (50, 48)

    def test_a_request_tells_something_only_where_its_rubric_and_judge_do_not(self):
        def keys(a: Row, b: Row) -> list[str]:
            return [d["key"] for d in differences({**MANIFEST, **a}, {**MANIFEST, **b})]

        a, b = {"requests": {"answer": "1", "query": "1"}}, {"requests": {"answer": "2", "query": "1"}}
        assert keys(a, b) == ["requests.answer"], "its prompt, or how a reply must look"
        assert keys(a, {}) == []
        other = {"rubrics": {**MANIFEST["rubrics"], "answer": "0"}}
        assert keys(a, {**b, **other}) == ["rubrics.answer"]
        judge = {"judge": {**MANIFEST["judge"], "fingerprint": "0"}}
        assert keys(a, {**b, **judge}) == ["judge.fingerprint"]

    def test_it_is_said_first(self, tmp_path):
        a = make(tmp_path / "a", rows("kept"))
        assert (
            diff_text.as_text(compare.compare((a, a))).split("\n\n")[1].startswith("Nothing that the manifests record")
        )
        b = make(tmp_path / "b", rows("kept"), rubrics={"answer": "a" * 32, "query": "c" * 32}, rows_in=12_000)
        told = diff_text.as_text(compare.compare((a, b))).split("\n\n")[1]
        assert re.search(r"rubrics\.query +b{11}… +-> +c{11}…\n +rows_in +3 +-> +12,000$", told)

    def test_a_meaningless_judge_and_an_incomplete_run_are_named(self, tmp_path):
        a = make(tmp_path / "a", rows("kept"), complete=False)
        b = make(tmp_path / "b", rows("kept"), judge={**MANIFEST["judge"], "meaningless": True})
        head = diff_text.as_text(compare.compare((a, b))).split("\n\n")[0]
        assert "! B: the embedded judge is untrained: its scores are MEANINGLESS" in head
        assert "! A is incomplete" in head


class TestBrokenRuns:
    def test_a_folder_that_is_no_run(self, tmp_path, capsys):
        a = make(tmp_path / "a", rows("kept"))
        assert main(["diff", a, str(tmp_path / "no")]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"coigw-judge: {tmp_path / 'no'}: is no run folder") and len(told.splitlines()) == 1

    def test_a_run_without_verdicts(self, tmp_path):
        a = make(tmp_path / "a", [], parts=0)
        with pytest.raises(FixStore, match=r"a: has no verdicts/\*\.parquet; run `coigw-judge select`"):
            compare.compare((a, a))

    @pytest.mark.parametrize("column", ["row_id", "decision"])
    def test_verdicts_that_lack_a_column(self, tmp_path, column):
        a = make(tmp_path / "a", rows("kept"), without=(column,))
        with pytest.raises(FixStore, match=rf"part-00000\.parquet: has no column {column}"):
            compare.compare((a, a))

    @pytest.mark.parametrize("column", ["row_id", "decision"])
    def test_verdicts_that_lack_a_value(self, tmp_path, column):
        a = make(tmp_path / "a", rows("kept", **{column: None}))
        with pytest.raises(FixStore, match=rf"a row has no {column}"):
            compare.compare((a, a))

    def test_no_column_of_ids_is_no_trouble(self, tmp_path):
        a = make(tmp_path / "a", rows("kept", "dropped"), without=("id",))
        assert compare.compare((a, a))["join"]["on"] == {"id": 0, "row_id": 2}

    def test_an_unknown_decision(self, tmp_path):
        a = make(tmp_path / "a", rows("kept", "keep"))
        with pytest.raises(FixStore, match="decision 'keep' is none of kept, review"):
            compare.compare((a, a))

    def test_a_column_of_another_type(self, tmp_path, monkeypatch):
        monkeypatch.setitem(TYPES, "record", pa.list_(pa.string()))
        a = make(tmp_path / "a", rows("kept", record=["x"]))
        with pytest.raises(FixStore, match=r"column record is list<.*, not large_string"):
            compare.compare((a, a))

    @pytest.mark.parametrize("buckets", [1, 3])
    def test_a_torn_part(self, tmp_path, buckets):
        a = make(tmp_path / "a", rows(*["kept"] * 500), parts=2)
        part = tmp_path / "a" / "verdicts" / "part-00001.parquet"
        whole = part.read_bytes()
        part.write_bytes(whole[:100])
        with pytest.raises(FixStore, match=r"part-00001\.parquet: cannot be read as Parquet"):
            compare.compare((a, a), buckets=buckets)
        part.write_bytes(b"PAR1" + b"\xff" * 400 + whole[404:])  # the footer is sound, the pages are not
        with pytest.raises(FixStore, match=r"part-00001\.parquet: cannot be read as Parquet"):
            compare.compare((a, a), buckets=buckets)

    def test_other_types_of_text_are_read_too(self, tmp_path, monkeypatch):
        monkeypatch.setitem(TYPES, "id", pa.large_string())
        monkeypatch.setitem(TYPES, "decision", pa.dictionary(pa.int32(), pa.string()))
        monkeypatch.setitem(TYPES, "genre", pa.dictionary(pa.int8(), pa.string()))
        report = compared(tmp_path, rows("kept", "kept"), rows("kept", "dropped"))
        assert report["unchanged"]["flips"] == 1 and report["yield"]["groups"][0]["value"] == "散文"

    def test_parts_may_have_different_columns(self, tmp_path):
        a = make(tmp_path / "a", rows("kept", "kept"), **{"parts": 1})
        extra = pa.table({"row_id": ["y:0"], "id": ["other"], "decision": ["kept"], "new.score": [1.0]})
        pq.write_table(extra, tmp_path / "a" / "verdicts" / "part-00001.parquet")
        report = compare.compare((a, a))
        assert report["join"]["joined"] == 3
        assert {s["name"]: s["n"] for s in report["unchanged"]["scores"]} == {
            "answer.quality": 0,
            "query.quality": 0,
            "new.score": 1,
        }

    def test_where_flips_can_not_be_written(self, tmp_path):
        with pytest.raises(FixJob, match=r"--ids-to .*flips\.jsonl: cannot be written"):
            compared(tmp_path, rows("kept"), rows("kept"), ids_to=tmp_path / "no" / "flips.jsonl")


DRAWN_ROW = st.fixed_dictionaries(
    {
        "row_id": st.integers(0, 30).map("x:{}".format),
        "id": st.none() | st.sampled_from([f"i{n}" for n in range(12)] + ["", "猫", "猫" * 40]),
        "decision": st.sampled_from(DECISIONS),
        "genre": st.none() | st.sampled_from(["诗", "小说", "散文"]),
        "record": st.sampled_from(["1" * 32, "2" * 32]) | st.none(),
        "answer.quality": st.none() | st.integers(0, 100).map(lambda n: n / 7),
        "coherence.fits": st.none() | st.booleans(),
        "genre.genre": st.none() | st.sampled_from(["诗", "小说"]),
        "repeat_decision": st.none() | st.sampled_from(DECISIONS),
        "repeat_scores": st.none()
        | st.lists(
            st.tuples(st.sampled_from(["answer.quality", "query.quality"]), st.integers(0, 10).map(float)),
            max_size=2,
            unique_by=lambda pair: pair[0],
        ),
    }
)
DRAWN_RUN = st.lists(DRAWN_ROW, min_size=1, max_size=40, unique_by=lambda row: row["row_id"])


def pairs_by_hand(a: list[Row], b: list[Row]) -> list[tuple[Row, Row]]:
    """The join as it is told in words, row by row."""
    by_id = any(row["id"] is not None for row in a) and any(row["id"] is not None for row in b)
    often = [Counter(row["id"] for row in found if row["id"] is not None) for found in (a, b)]

    def key(row: Row) -> tuple[Any, ...]:
        if by_id and row["id"] is not None and max(often[0][row["id"]], often[1][row["id"]]) == 1:
            return (row["id"],)
        return (row["row_id"], row["id"] if by_id else None)

    there = {key(row): row for row in b}
    return [(row, there[key(row)]) for row in a if key(row) in there]


@settings(max_examples=40)
@given(DRAWN_RUN, DRAWN_RUN)
def test_any_number_of_buckets_gives_what_a_join_by_hand_gives(tmp_path_factory, a, b):
    folder = tmp_path_factory.mktemp("runs")
    folders = (make(folder / "a", a, parts=2), make(folder / "b", b))
    joined = pairs_by_hand(a, b)
    if not joined:
        for buckets in (1, 7):
            with pytest.raises(FixStore, match="share no row"):
                compare.compare(folders, buckets=buckets)
        return
    one = compare.compare(folders, buckets=1, ids=3)
    assert compare.compare(folders, buckets=7, ids=3) == one
    wanted = Counter((left["decision"], right["decision"]) for left, right in joined)
    assert Counter({(x, y): n for x, row in one["transitions"].items() for y, n in row.items()}) == wanted
    changed = [(left, right) for left, right in joined if left["record"] != right["record"]]
    assert one["join"]["changed"] == len(changed)
    assert one["join"]["joined"] == len(joined) == one["join"]["changed"] + one["join"]["unchanged"]
    shifts = [
        right["answer.quality"] - left["answer.quality"]
        for left, right in changed
        if left["answer.quality"] is not None and right["answer.quality"] is not None
    ]
    found = one["changed"]["scores"][0]
    assert found["n"] == len(shifts) and (not shifts or found["mean_shift"] == pytest.approx(np.mean(shifts), abs=1e-6))
    noise = [row for row in a if {row["decision"], row["repeat_decision"]} <= {"kept", "review", "dropped"}]
    told = one["noise"]["a"]
    assert (
        (told["n"], told["flips"]) == (len(noise), sum(r["decision"] != r["repeat_decision"] for r in noise))
        if told
        else not noise
    )


@given(st.lists(st.text(max_size=6), max_size=30), st.integers(1, 9), st.integers(0, 5))
def test_a_texts_bucket_depends_on_the_text_alone(texts, buckets, skipped):
    array = pa.array(texts, pa.large_string())
    found = hash_ranges.bucket_of(array, buckets).tolist()
    assert all(0 <= bucket < buckets for bucket in found)
    assert found == [hash_ranges.bucket_of(pa.array([text], pa.large_string()), buckets)[0] for text in texts]
    assert hash_ranges.bucket_of(array.slice(skipped), buckets).tolist() == found[skipped:]


@pytest.mark.parametrize("pattern", ["a{:07d}", "{:032x}", "https://example.org/{}/文", "{}" + "x" * 5000])
def test_buckets_are_of_about_one_size(pattern):
    texts = pa.array([pattern.format(n) for n in range(4000)], pa.large_string())
    sizes = np.bincount(hash_ranges.bucket_of(texts, 8).astype(int), minlength=8)
    assert sizes.min() > 350 and sizes.max() < 650


def test_many_rows_are_dealt_without_being_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "ROWS_PER_BUCKET", 10)
    monkeypatch.setattr(diff_rows, "ROWS_PER_BATCH", 7)
    loaded: list[int] = []
    load = diff_rows.load
    monkeypatch.setattr(diff_rows, "load", lambda *which: loaded.append(1) or load(*which))
    a, b = rows(*["kept", "dropped"] * 30), rows(*["dropped"] * 60)
    report = compared(tmp_path, a, b, ids_to=tmp_path / "flips.jsonl")
    assert len(loaded) == 2 * 12 and report["unchanged"]["flips"] == 30
    assert len((tmp_path / "flips.jsonl").read_text().splitlines()) == 30


def test_a_temporary_folder_that_can_not_hold_the_rows_is_named(tmp_path):
    folders = (make(tmp_path / "a", rows("kept")), make(tmp_path / "b", rows("kept")))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(FixStore, match=r"File too large; .*TMPDIR"):
            compare.compare(folders, buckets=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def busy_runs(tmp_path: Path) -> tuple[str, str]:
    """Two runs that differ in everything that a report shows."""
    a, b = re_asked(1300, 30, size=1.0), re_asked(1300, 10, size=0.5)
    draw = np.random.default_rng(7)
    genres = ["现代诗", "学术摘要", "小说", "一个非常非常长的体裁名称一个非常非常长的体裁名称", None]
    for n, (left, right) in enumerate(zip(a, b, strict=True)):
        left["genre"] = right["genre"] = genres[n % 5]
        left["decision"], right["decision"] = (
            str(draw.choice(DECISIONS, p=[0.4, 0.2, 0.3, *[0.02] * 5])) for _ in "ab"
        )
        for row in (left, right):
            row["answer.quality"], row["coherence.fits"] = float(draw.integers(5, 11)), bool(draw.integers(2))
            row["genre.genre"] = str(draw.choice(["诗", "小说"]))
        if n % 10 == 0:
            right["record"] = "f" * 32
        if n % 100 == 7:
            left["id"] = right["id"] = None
        if n % 200 == 9:
            left["id"] = right["id"] = "again"
    b = b[:1250] + rows(*["kept"] * 1303)[1300:]
    told = {"rubrics": {"answer": "0" * 32}, "gate": {"total": 1234, "each": 8}, "rows_in": 1253}
    return make(tmp_path / "a", a, repeat=0.5), make(tmp_path / "b", b, repeat=0.25, **told)


def numbers_of(report: Any) -> set[str]:
    """Every number of a report in every way in which a text may write it."""
    if isinstance(report, dict):
        return set().union(*(numbers_of(value) for key, value in report.items() if key != "ids"))
    if isinstance(report, list):
        return set().union(*map(numbers_of, report))
    if isinstance(report, bool) or not isinstance(report, int | float):
        return set()
    plus = report + 0.0
    forms = {f"{report:,}", f"{plus:.1%}", f"{plus:.2%}", f"{plus:.2f}", f"{plus:+.2f}", f"{100 * plus:+.1f}"}
    return forms | {form.replace("-0.0", "+0.0") for form in forms if not re.search("[1-9]", form)}


def test_every_number_of_the_text_stands_in_the_json(tmp_path):
    report = compare.compare(busy_runs(tmp_path))
    text = diff_text.as_text(report, ids=0)
    for side in "ab":
        text = text.replace(report["runs"][side]["folder"], "")
    for said in ("95%", "by 1 ", "by 2+", "a" * 11, "0" * 11):
        assert said in text
        text = text.replace(said, "")
    found = re.findall(r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?%?", text.replace("->", "").replace("re-asked", ""))
    assert len(found) > 150
    assert set(found) <= numbers_of(json.loads(diff_text.as_json(report)))


def test_each_line_of_the_text_says_what_the_json_says(tmp_path):
    report = compare.compare(busy_runs(tmp_path))
    text = diff_text.as_text(report, ids=3)
    for group in ("unchanged", "changed"):
        for kind in report[group]["kinds"]:
            shown = ", ".join(row["id"] or row["row_id"] for row in kind["ids"][:3])
            assert f"{kind['from']} -> {kind['to']}  {kind['flips']:,}  {shown}, ..." in text
    table = text.partition("Decisions of joined rows")[2].splitlines()[2:]
    for before, cells_of in report["transitions"].items():
        line = next(line.split() for line in table if line.split()[:1] == [before])
        assert line[1:] == [f"{cells_of.get(after, 0):,}" for after in DECISIONS]
    for side in ("a", "b"):
        noise = report["noise"][side]
        assert re.search(
            rf"re-asked in {side.upper()} +{noise['flips']:,} of {noise['n']:,} +{noise['share']:.2%}", text
        )


def test_the_text_fits_a_hundred_columns_and_wide_names_keep_their_columns(tmp_path):
    text = diff_text.as_text(compare.compare(busy_runs(tmp_path)), ids=40)
    assert max(cells(line) for line in text.splitlines()[2:]) <= 100
    table = text.partition("Yield:")[2].splitlines()[1:]
    assert len(table) == 8 and len({cells(line) for line in table}) == 1
    assert any("…" in line for line in table), "a long name is cut"


def larger(report: Any, times: int) -> Any:
    """A report of as many times more rows."""
    if isinstance(report, dict):
        return {key: larger(value, 1 if key == "differs" else times) for key, value in report.items()}
    if isinstance(report, list):
        return [larger(value, times) for value in report]
    return report * times if isinstance(report, int) and not isinstance(report, bool) else report


def test_a_hundred_million_rows_fit_too(tmp_path):
    report = larger(compare.compare(busy_runs(tmp_path)), 100_000)
    text = diff_text.as_text({**report, "transitions": {"kept": {"kept": 10**8, "dropped": 10**8}}}, ids=40)
    assert "130,000,000" in text and "112,500,000" in text
    assert max(cells(line) for line in text.splitlines()[2:]) <= 100


def test_runs_at_uris_are_runs(tmp_path):
    folders = (make(tmp_path / "a", rows("kept", "kept")), make(tmp_path / "b", rows("kept", "dropped")))
    here, there = compare.compare(folders), compare.compare((f"file://{folders[0]}", f"file://{folders[1]}"))
    assert {**here, "runs": None} == {**there, "runs": None}


def test_what_is_too_long_for_a_page_is_counted(tmp_path):
    a = rows(*["kept"] * 80)
    for n, row in enumerate(a):
        row["genre"] = f"体裁{n}"
    long = {f"k{n}": str(n) for n in range(60)}
    folders = (make(tmp_path / "a", a), make(tmp_path / "b", a, versions=long))
    text = diff_text.as_text(compare.compare(folders))
    assert "and 20 more; --json has all" in text and "and 50 smaller groups; --json has all" in text


def test_what_an_id_or_a_genre_holds_can_not_take_over_a_terminal(tmp_path, capsys):
    bad = "a\x1b[2J\u202eb\x9b3m\nc\u2028d\u200b"
    a, b = rows("kept", id=bad, genre=bad), rows("dropped", id=bad, genre=bad)
    folders = (make(tmp_path / "a", a), make(tmp_path / "b", b))
    assert main(["diff", *folders]) == 0
    text = capsys.readouterr().out
    assert "a\ufffd[2J\ufffdb\ufffd3m\ufffdc\ufffdd\ufffd" in text
    assert main(["diff", *folders, "--json"]) == 0
    told = capsys.readouterr().out
    assert json.loads(told)["unchanged"]["kinds"][0]["ids"] == [{"id": bad, "row_id": "x:0"}]
    for printed in (text, told):
        assert not set(bad) - set("a[2Jb3mcd\n") & set(printed)


def test_an_id_of_a_million_characters_is_cut(tmp_path):
    text = diff_text.as_text(compared(tmp_path, rows("kept", id="猫" * 10**6), rows("dropped", id="猫" * 10**6)))
    assert "猫…" in text and max(map(cells, text.splitlines()[2:])) <= 100


class TestCommand:
    def test_text_json_and_ids(self, tmp_path, capsys):
        count = 25
        folders = (make(tmp_path / "a", rows(*["kept"] * count)), make(tmp_path / "b", rows(*["dropped"] * count)))
        assert main(["diff", *folders]) == 0
        text = capsys.readouterr().out
        assert len(re.findall(r"\br\d+\b", text)) == 10
        assert main(["diff", *folders, "--ids", "25"]) == 0
        assert len(re.findall(r"\br\d+\b", capsys.readouterr().out)) == count
        assert main(["diff", *folders, "--json", "--ids", "1", "--ids-to", str(tmp_path / "f.jsonl")]) == 0
        report = json.loads(capsys.readouterr().out)
        assert len(report["unchanged"]["kinds"][0]["ids"]) == count and report["ids_bound"] == compare.IDS_BOUND
        assert len((tmp_path / "f.jsonl").read_text().splitlines()) == count
        assert main(["diff", *folders, "--by", "decision"]) == 0
        assert re.search(r"\n +decision +judged A", capsys.readouterr().out)

    def test_help_names_every_option(self, capsys):
        with pytest.raises(SystemExit):
            main(["diff", "--help"])
        told = " ".join(capsys.readouterr().out.split())
        assert all(
            option in told for option in ("--json", "--by", "--ids N", "--ids-to", "default: genre", "default: 10")
        )


@pytest.mark.usefixtures("ray_cluster")
def test_one_word_of_one_rubric(write_job, tmp_path, capsys):
    found = [
        {
            "id": f"t{n}",
            "query": f"写第{n}件旧物",
            "thought": f"先想第{n}种",
            "answer": f"第{n}只表走得慢",
            "genre": "散文",
        }
        for n in range(60)
    ]
    rubric, prompt = tmp_path / "query.yaml", tmp_path / "query.md"
    wording = (builtin("rubrics") / "query.yaml").read_text(encoding="utf-8")
    wording = wording.replace("prompt: query", f"prompt: {prompt}")
    asked_so = (builtin("prompts") / "query.md").read_text(encoding="utf-8")
    assert "一读便知" in wording and "题目" in asked_so
    judge = {"engine": "wording_judge:WordingJudge", "options": {"log": str(tmp_path / "asks.log")}}
    gate = {"total": 48, "each": 7}
    job = write_job(found, rubrics=["answer", str(rubric), "thought"], judge=judge, early_exit=False, gate=gate)
    folders: list[str] = []
    for said, put in (
        (wording, asked_so),
        (wording.replace("一读便知", "一看便知"), asked_so),
        (wording, asked_so.replace("题目", "题")),
    ):
        rubric.write_text(said, encoding="utf-8")
        prompt.write_text(put, encoding="utf-8")
        assert main(["run", str(job)]) == 0
        folders += [str(path) for path in (tmp_path / "runs").iterdir() if str(path) not in folders]
    asked = [line.split()[0] for line in (tmp_path / "asks.log").read_text().splitlines()]
    assert Counter(asked) == {"answer": 60, "query": 180, "thought": 60}, "exactly that rubric's requests again"
    assert [d["key"] for d in compare.compare((folders[0], folders[2]))["differs"]] == ["requests.query"], "its prompt"
    capsys.readouterr()
    assert main(["diff", *folders[:2], "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [d["key"] for d in report["differs"]] == ["rubrics.query"]
    group = report["unchanged"]
    moved = {score["name"]: score["moved"] for score in group["scores"]}
    assert moved.pop("query.quality") > 0.5 and moved.pop("query.creativity") > 0.5
    assert moved and set(moved.values()) == {0.0}
    verdicts = [
        {r["id"]: r["decision"] for r in pq.read_table(f / "verdicts").to_pylist()} for f in map(Path, folders[:2])
    ]
    wanted = Counter((verdicts[0][name], verdicts[1][name]) for name in verdicts[0])
    assert {(k["from"], k["to"]): k["flips"] for k in group["kinds"]} == {
        p: n for p, n in wanted.items() if p[0] != p[1]
    }
    assert group["flips"] > 0 and group["n"] == 60
