"""Copies over the whole crawl: the earliest date, near duplicates, clusters from elsewhere, excluded texts."""

import json
import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import Row, plan, rubric, scan_rows

from coigw_judge.errors import FixInput, FixSource
from coigw_judge.job.job import load_job
from coigw_judge.pipeline import passes
from coigw_judge.scan import copies
from coigw_judge.scan import rows as scanning
from coigw_judge.scan.screening import key_row
from coigw_judge.screens import minhash
from coigw_judge.screens.all_screens import Screens
from coigw_judge.screens.config import Screen
from coigw_judge.standing import join
from coigw_judge.storage.hash_ranges import ALL, span
from coigw_judge.store.parts import Store

DATED = {"published_after": "2022-10-31"}
CHARACTERS = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论运农指几九区强放决西被干做必战先回则任取据处队南给色光门即保治北造百规热领七海口东导器压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达走积示议声报斗完类八离华名确才科张信马节话米整空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断深难近矿千周委素技备半办青省列习响约支般史感劳便团往酸历市克何除消构府称太准精值号率族维划选标写存候毛亲快效斯院查江型眼王按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁价严"


def prose(seed: int, size: int = 400) -> str:
    return "".join(random.Random(seed).choices(CHARACTERS, k=size))


def edited(text: str, share: float, seed: int = 1) -> str:
    """The text with a stretch of other characters in it, so that about `1 - share` of its runs stay."""
    at, size = len(text) // 3, round(len(text) * share)
    return text[:at] + prose(seed + 1000, size) + text[at + size :]


def scanned(folder: Path, files: list[list[Row]], **screen: Any) -> tuple[list[dict[str, Any]], scanning.Scan, Store]:
    store, scan = scan_rows(folder, files, screen=Screen.model_validate(screen))
    return scanning.read_rows(store, scan, ALL).to_pylist(), scan, store


def test_a_repost_is_as_old_as_its_earliest_copy(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"id": "repost", "answer": "甲甲", "published_at": "2024-01-01"},
        {"id": "original", "answer": "甲甲", "published_at": "2019年5月1日"},
        {"id": "new", "answer": "乙乙", "published_at": "2023-01-01"},
        {"id": "undated copy", "answer": "乙乙"},
        {"id": "undated", "answer": "丙丙"},
        {"id": "last day", "answer": "丁丁", "published_at": "2022-10-31"},
        {"id": "first day", "answer": "戊戊", "published_at": "2022-11-01"},
    ]
    found, scan, _ = scanned(tmp_path, [rows[:1], rows[1:]], **DATED)
    assert {row["id"]: row["screened"] for row in found} == {
        "repost": "published on 2019-05-01 (by its earliest copy), not after 2022-10-31",
        "original": "published on 2019-05-01, not after 2022-10-31",
        "new": None,
        "undated copy": None,
        "undated": None,
        "last day": "published on 2022-10-31, not after 2022-10-31",
        "first day": None,
    }
    assert {row["id"] for row in found if row["flags"]} == {"undated"}
    assert found[4]["flags"] == ["no_date"] and found[4]["screens"] == [
        "no_date: no date of publication that can be read"
    ]
    assert (found[0]["published"], found[3]["published"]) == (date(2024, 1, 1), None)
    assert scan.screens == {"published_after": {"dropped": 3, "flagged": 0}, "no_date": {"dropped": 0, "flagged": 1}}
    assert scan.screened == 3 and scanning.load(Store(str(tmp_path / "store")), "d") == scan


@pytest.mark.parametrize(("policy", "dropped", "flagged"), [("flag", 0, 1), ("drop", 1, 0), ("keep", 0, 0)])
def test_a_missing_date_has_a_policy(tmp_path: Path, policy: str, dropped: int, flagged: int) -> None:
    found, scan, _ = scanned(
        tmp_path, [[{"answer": "甲"}, {"answer": "乙", "published_at": 1700000000}]], missing_date=policy, **DATED
    )
    assert scan.screens.get("no_date", {"dropped": 0, "flagged": 0}) == {"dropped": dropped, "flagged": flagged}
    assert [bool(row["screened"]) for row in found] == [bool(dropped), False]


def test_without_its_key_there_is_no_date_screen(tmp_path: Path) -> None:
    found, scan, _ = scanned(tmp_path, [[{"answer": "甲", "published_at": "1999-01-01"}, {"answer": "乙"}]])
    assert scan.screens == {} and found[0]["published"] == date(1999, 1, 1)
    assert not list((tmp_path / "store").rglob("keys-*"))


def test_a_copy_that_a_screen_drops_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    """Likes are not in the texts: of two copies the second may pass where the first did not."""
    rows: list[Row] = [
        {"id": "few", "answer": "甲甲", "likes": 1},
        {"id": "many", "answer": "甲甲", "likes": 99},
        {"id": "more", "answer": "甲甲", "likes": 999},
    ]
    store, scan = scan_rows(
        tmp_path, [rows], screen=Screen.model_validate({"min_likes": {"value": 10, "action": "drop"}})
    )
    asked = plan(rubric("r", dimensions=("x",)))
    found = join.read(join.JoinInput(store=store.root, scan=scan, plan=asked, pairs=(("r", "j"),)), 0)
    assert [found.rows["id"].to_pylist()[n] for n in found.judged.tolist()] == ["many"]


# -- Near duplicates -------------------------------------------------------------------------------


def test_near_duplicates_point_to_the_first_and_share_its_date(tmp_path: Path) -> None:
    text = prose(1)
    rows: list[Row] = [
        {"id": "first", "answer": text, "published_at": "2023-01-01"},
        {"id": "other", "answer": prose(2), "published_at": "2023-01-01"},
        {"id": "near", "answer": edited(text, 0.05), "published_at": "2024-01-01"},
        {
            "id": "marks",
            "answer": "，".join(text[n : n + 7] for n in range(0, len(text), 7)) + "。\n",
            "published_at": "2024-01-01",
        },
        {"id": "exact", "answer": text, "published_at": "2024-01-01"},
        {"id": "half", "answer": text[:200] + prose(3, 200), "published_at": "2024-01-01"},
    ]
    found, scan, _ = scanned(tmp_path, [rows[:2], rows[2:]], near_duplicate="flag", **DATED)
    assert {row["id"]: row["screens"] for row in found if row["screens"]} == {
        "near": ["near_duplicate: nearly the same as 0.jsonl:0"],
        "marks": ["near_duplicate: nearly the same as 0.jsonl:0"],
    }
    assert (scan.duplicates, scan.screens) == (1, {"near_duplicate": {"dropped": 0, "flagged": 2}})
    rows[2] |= {"published_at": "2001-01-01"}  # type: ignore[operator]
    (tmp_path / "old").mkdir()
    found, scan, _ = scanned(tmp_path / "old", [rows[:2], rows[2:]], near_duplicate="drop", **DATED)
    assert [row["id"] for row in found if row["screened_by"] == "published_after"] == [
        "first",
        "near",
        "marks",
        "exact",
    ]
    assert scan.screens["published_after"] == {"dropped": 4, "flagged": 0}


def test_the_first_that_nothing_else_drops_represents(tmp_path: Path) -> None:
    text = prose(4)
    broken = "\ufffd" * 12 + text
    found, scan, _ = scanned(
        tmp_path,
        [
            [
                {"id": "broken", "answer": broken},
                {"id": "good", "answer": text},
                {"id": "later", "answer": edited(text, 0.04)},
            ]
        ],
        near_duplicate="drop",
    )
    assert [row["screened_by"] for row in found] == ["encoding", None, "near_duplicate"]
    assert found[2]["screened"] == f"nearly the same as 0.jsonl:{found[1]['position']}"
    assert scan.screened == 2


def test_genres_may_be_exempt_from_near_duplicates(tmp_path: Path) -> None:
    text = prose(5)
    rows: list[Row] = [
        {"answer": text},
        {"answer": edited(text, 0.04), "genre": "诗词"},
        {"answer": edited(text, 0.04, 9), "genre": "散文"},
    ]
    found, _, _ = scanned(tmp_path, [rows], near_duplicate="drop", exempt={"near_duplicate": ["诗歌"]})
    assert [row["screened_by"] for row in found] == [None, None, "near_duplicate"]


@pytest.mark.parametrize("text", ["好", "？！", "加油", "123", "a", "春眠不觉晓", "𠮷", "\u3000好\u3000"])
def test_short_texts_have_sketches_too(text: str) -> None:
    one, other, none = minhash.bands([text, f" {text}！", "……"])
    assert one == other and not none
    assert len(one) == (0 if text == "？！" else minhash.BANDS)


def test_bands_agree_as_often_as_the_sketchs_mathematics_says() -> None:
    """Runs that overlap by J share one of 14 bands of 8 hashes with a probability of 1 - (1 - J^8)^14."""
    for share, least, most in ((0.02, 0.95, 1.0), (0.3, 0.05, 0.75), (0.7, 0.0, 0.15)):
        pairs = [(prose(n), edited(prose(n), share, n)) for n in range(60)]
        hashed = minhash.bands([text for pair in pairs for text in pair])
        agreed = sum(bool(set(hashed[2 * n]) & set(hashed[2 * n + 1])) for n in range(60)) / 60
        assert least <= agreed <= most, (share, agreed)


# -- Clusters from elsewhere, and all of it against a plain reading ---------------------------------

MANY = st.lists(
    st.fixed_dictionaries(
        {"answer": st.sampled_from("甲乙丙丁")},
        optional={
            "published_at": st.integers(-3, 3).map(lambda days: (date(2022, 10, 31) + timedelta(days)).isoformat()),
            "cluster_id": st.integers(1, 3),
            "likes": st.sampled_from([1, 20]),
        },
    ),
    max_size=12,
)


def plainly(rows: list[dict[str, Any]]) -> list[tuple[str | None, str | None]]:
    """Earliest day and representative of every row, by looking at all pairs again and again."""
    label = list(range(len(rows)))
    joined = [
        (a, b)
        for a in range(len(rows))
        for b in range(a)
        if rows[a]["answer"] == rows[b]["answer"]
        or (rows[a].get("cluster_id") and rows[a].get("cluster_id") == rows[b].get("cluster_id"))
    ]
    for _ in rows:
        for a, b in joined:
            label[a] = label[b] = min(label[a], label[b])
    told: list[tuple[str | None, str | None]] = []
    for n, row in enumerate(rows):
        members = [m for m in range(len(rows)) if label[m] == label[n]]
        first = min(members, key=lambda m: (rows[m].get("likes", 20) < 10, m))
        shares = any(
            row.get("cluster_id") and row.get("cluster_id") == rows[m].get("cluster_id") for m in members if m != n
        )
        same = [
            m
            for m in members
            if rows[m]["answer"] == row["answer"]
            and (rows[m].get("likes", 20) < 10, m) < (row.get("likes", 20) < 10, n)
        ]
        day = min((rows[m]["published_at"] for m in members if "published_at" in rows[m]), default=None)
        told.append((day, str(first) if first != n and shares and not same else None))
    return told


@settings(max_examples=60)
@given(MANY, st.integers(1, 3), st.integers(1, 4))
def test_clusters_are_what_looking_at_all_pairs_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], files: int, buckets: int
) -> None:
    folder = tmp_path_factory.mktemp("clusters")
    for n, row in enumerate(rows):
        row["id"] = str(n)
    size = -(-len(rows) // files) or 1
    parts: list[list[Row]] = [list(rows[n * size : (n + 1) * size]) for n in range(files)]
    screen = {
        "near_duplicate": "flag",
        "cluster_column": "cluster_id",
        "min_likes": {"value": 10, "action": "drop"},
        **DATED,
    }
    found, scan, store = scanned(folder, parts, **screen)
    positions = {f"{row['split']}.jsonl:{row['position']}": row["id"] for row in found}
    for row, (day, first) in zip(found, plainly(rows), strict=True):
        said = dict(sentence.split(": ", 1) for sentence in row["screens"])
        assert ("no_date" in said) == (day is None)
        assert ("published_after" in said) == (day is not None and day <= "2022-10-31")
        near = said.get("near_duplicate")
        assert (near and positions[near.removeprefix("nearly the same as ")]) == first
    assert scan.screened == sum(row["screened"] is not None for row in found)
    work = store.path("work")
    counts = [copies.find(store, work, n, 1, span(n, buckets)) for n in range(buckets)]
    assert sum(counts) == copies.find(store, work, 0, 1, ALL)


def test_numbers_of_rows_keep_their_order_and_put_the_dropped_last() -> None:
    screens = Screens(
        Screen.model_validate({"min_likes": {"value": 1, "action": "drop"}, "missing_date": "drop", **DATED})
    )

    def row(split: int, number: int, *hit: str) -> int:
        scanned = {"split": split, "row": number, "position": 0, "published": None, "record": b"r" * 16}
        return int(key_row({**scanned, "screens": [f"{name}: why" for name in hit]}, screens)["row"])

    undropped = [row(0, 0), row(0, 1 << 39, "published_after"), row(1, 0, "no_date", "repetition"), row(1 << 20, 5)]
    wanted = [*undropped, row(0, 0, "encoding"), row(0, 1, "published_after", "min_likes")]
    assert wanted == sorted(wanted) and wanted[-1] < 2**63


# -- Excluded texts --------------------------------------------------------------------------------


def settle(job: Path, *overrides: str) -> tuple[dict[str, Any], scanning.Scan]:
    loaded = load_job(job, overrides)
    store = Store(loaded.store)
    scan = passes.scan(loaded, store)
    return {row["id"]: row for row in scanning.read_rows(store, scan, ALL).to_pylist()}, scan


@pytest.fixture
def evaluated(write_job: Callable[..., Path], tmp_path: Path) -> Path:
    text = prose(6)
    held = [{"answer": text, "published_at": "1999-01-01"}, {"query": "写一只表"}, {"unknown": 1}]
    (tmp_path / "held.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in held), encoding="utf-8"
    )
    rows = [
        {"id": "same", "answer": text}, {"id": "again", "answer": text}, {"id": "near", "answer": edited(text, 0.05)}, {"id": "nearer", "answer": edited(text, 0.06)},
        {"id": "query", "answer": "表走得慢。", "query": "写一只表"}, {"id": "other", "answer": prose(7), "query": "写一只猫"},
    ]  # fmt: skip
    return write_job(rows, rubrics=["usability"], gate={})


def test_excluded_texts_are_dropped_and_their_like_flagged(evaluated: Path) -> None:
    found, scan = settle(evaluated, "screen.exclude=[held.jsonl]")
    assert {name: row["screens"] for name, row in found.items()} == {
        "same": ["excluded: its text stands in held.jsonl"],
        "again": ["excluded: its text stands in held.jsonl"],
        "near": ["excluded_near: nearly the same text stands in held.jsonl"],
        "nearer": ["excluded_near: nearly the same text stands in held.jsonl"],
        "query": ["excluded: its text stands in held.jsonl"],
        "other": [],
    }
    assert [name for name, row in found.items() if row["screened_by"] == "excluded"] == ["same", "again", "query"]
    assert scan.screens == {"excluded": {"dropped": 3, "flagged": 0}, "excluded_near": {"dropped": 0, "flagged": 2}}
    found, _ = settle(
        evaluated, "screen.exclude={paths: held.jsonl, action: flag, near: off}", "screen.published_after=2022-10-31"
    )
    assert [name for name, row in found.items() if "excluded" in row["flags"]] == ["same", "again", "query"]
    assert all("published_after" not in row["flags"] and row["screened"] is None for row in found.values()), (
        "an excluded text's date is not ours"
    )


def test_an_excluded_file_that_changed_is_read_again(evaluated: Path, tmp_path: Path) -> None:
    assert settle(evaluated, "screen.exclude=held.jsonl")[0]["other"]["screened_by"] is None
    with (tmp_path / "held.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"answer": prose(7)}) + "\n")
    assert settle(evaluated, "screen.exclude=held.jsonl")[0]["other"]["screened_by"] == "excluded"


def test_what_excludes_nothing_is_refused(evaluated: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"content": "文"}\n', encoding="utf-8")
    with pytest.raises(FixInput, match=r"empty\.jsonl: screen\.exclude: no row has a text in answer or query; rename"):
        settle(evaluated, "screen.exclude=empty.jsonl")
    with pytest.raises(FixSource, match="nowhere"):
        settle(evaluated, "screen.exclude=nowhere.jsonl")


def test_a_cluster_column_must_be_there(evaluated: Path) -> None:
    with pytest.raises(FixInput, match=r"screen\.cluster_column: rows\.jsonl has no column cluster_id"):
        settle(evaluated, "screen.cluster_column=cluster_id", "screen.near_duplicate=drop")


def test_a_limit_compares_only_the_rows_it_takes(evaluated: Path) -> None:
    loaded = load_job(evaluated, ["screen.near_duplicate=flag"], limit=3)
    store = Store(loaded.store)
    scan = passes.scan(loaded, store)
    assert scan.rows_in == 3 and scan.screens == {"near_duplicate": {"dropped": 0, "flagged": 1}}
