"""A run with screens, through the command line: counts in summary and manifest, verdicts' columns, nothing asked twice."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from coigw_judge.cli.main import main

pytestmark = pytest.mark.usefixtures("ray_cluster")


def told(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    latest = max((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    rows = pq.read_table(latest / "verdicts").to_pylist()
    return json.loads((latest / "manifest.json").read_text()), {row["id"]: row for row in rows}


def row(name: str, answer: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "query": f"写{name}",
        "thought": f"想{name}",
        "answer": answer,
        "published_at": "2023年5月1日",
        "genre": "散文",
        **more,
    }


ROWS = [
    row("fine", "旧表走得慢，父亲却总说它准。"),
    row("old", "旧屋漏雨，盆接了一夜。", published_at="2020-01-01"),
    row("undated", "巷口的猫换了一只。", published_at="昨天"),
    row("broken", "旧\ufffd\ufffd\ufffd\ufffd\ufffd表"),
    row("site", "雨停了。\n点击阅读原文", genre="古典小说"),
    row("advert", "夏日特饮。\n点击阅读原文", genre="广告"),
    row("excluded", "这一篇在评测集里。"),
    row("again", "旧表走得慢，父亲却总说它准。", query="写fine", thought="想fine"),
]


def test_screens_are_counted_and_ask_nothing_anew(
    write_job: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held.jsonl").write_text('{"answer": "这一篇在评测集里。"}\n', encoding="utf-8")
    assert main(["run", str(write_job(ROWS, screen={"encoding": "off", "boilerplate": "off"}))]) == 0
    asked = Counter((tmp_path / "asks.log").read_text().splitlines())
    capsys.readouterr()
    screen = {"published_after": "2022-10-31", "exclude": ["held.jsonl"]}
    job = write_job(ROWS, screen=screen, write=["all"])
    assert main(["run", str(job)]) == 0
    said = capsys.readouterr().out
    manifest, found = told(tmp_path)
    assert Counter((tmp_path / "asks.log").read_text().splitlines()) == asked, "screens change no request"
    assert manifest["screens"] == {
        "published_after": {"dropped": 1, "flagged": 0},
        "no_date": {"dropped": 0, "flagged": 1},
        "excluded": {"dropped": 1, "flagged": 0},
        "encoding": {"dropped": 1, "flagged": 0},
        "boilerplate": {"dropped": 0, "flagged": 1},
        "duplicate": {"dropped": 1, "flagged": 0},
    }
    assert manifest["decisions"]["screened"] == 3 and sum(manifest["decisions"].values()) == len(ROWS)
    assert "screens dropped: published_after 1; excluded 1; encoding 1; duplicate 1" in said
    assert "screens flagged: no_date 1; boilerplate 1" in said
    assert manifest["genres"] == {
        "categories": {"传播文体": 1, "非虚构": 6},
        "unknown": {"古典小说": 1},
        "unknown_beyond": 0,
        "none": 0,
    }
    assert found["old"]["reasons"] == ["published on 2020-01-01, not after 2022-10-31"]
    assert found["site"]["screens"] == [
        "boilerplate: 1 of 2 lines are a site's or an advertiser's, such as 点击阅读原文"
    ]
    assert (found["site"]["flags"], found["site"]["category"], found["advert"]["category"]) == (
        ["boilerplate"],
        None,
        "传播文体",
    )
    assert (
        str(found["fine"]["published"]) == "2023-05-01"
        and 0 < found["fine"]["ttr"] <= 1
        and found["fine"]["mattr"] is None
    )
    assert found["again"]["decision"] == "duplicate" and found["undated"]["flags"] == ["no_date"]
