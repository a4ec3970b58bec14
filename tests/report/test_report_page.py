"""The report in a real browser: what hostile text may not do, filters and order, a phone, the dark."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED_DATA
from test_report import NAUGHTY, rows
from test_report_people import HOSTILE, judged, labels

from coigw_judge.cli.main import main
from coigw_judge.report import examples
from coigw_judge.report.page import build

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-component-update"),
    *("--disable-background-networking", "--disable-quic", "--disable-dev-shm-usage"),
)

if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in requirements/dev.lock")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> str:
    folder = tmp_path_factory.mktemp("page")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(120) + naughty())
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    job = {
        "name": "page",
        "input": {"paths": ["rows.jsonl"]},
        "rubrics": ["answer", "query", "thought"],
        "gate": {"total": 50, "each": 8, "review": {"total": 2, "each": 1}},
        "judge": {"engine": "scripted_judge:ScriptedJudge"},
        "store": "facts",
        "out": "runs",
    }
    (folder / "job.yaml").write_text(json.dumps(job), encoding="utf-8")
    assert main(["run", str(folder / "job.yaml")]) == 0
    (run,) = (folder / "runs").iterdir()
    return Path(build(str(run), most_rows=dict.fromkeys(examples.KINDS, 200))).as_uri()  # every row is shown


def naughty() -> list[dict[str, Any]]:
    """The public list of strings that break software, in every field; empty where it is not beside the checkout."""
    path = SHARED_DATA / "naughty_strings.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    texts = [json.loads(line)["text"] for line in lines][::2]
    return [{"id": text, "genre": text, "query": text, "thought": f"{text} ", "answer": text} for text in texts]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET), timeout=120_000)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, url: str) -> Iterator[Any]:
    """Open a page in a window of its own; `said` collects errors and requests other than for the page."""
    contexts = []

    def open_page(at: str = url, **settings: Any) -> Any:
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: page.said.append("a dialog"))
        page.on("request", lambda request: page.said.append(request.url) if request.url != at else None)
        page.goto(at)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.slow
def test_hostile_text_is_read_and_not_run(visit: Any) -> None:
    page = visit()
    page.evaluate("document.querySelectorAll('article details').forEach(each => { each.open = true; })")
    seen = page.inner_text("body")
    assert page.evaluate("window.pwned") is None and page.said == []
    assert all(text in seen for text in NAUGHTY[:5]) and "⟦U+202E⟧" in seen
    assert page.locator("article script, article img, article svg").count() == 0


@pytest.mark.slow
def test_filters_and_order(visit: Any) -> None:
    page = visit()
    shown = page.locator("article:visible")
    every = shown.count()
    page.select_option("select[name=decision]", "kept")
    kept = shown.count()
    assert 0 < kept < every and page.inner_text("#shown") == f"{kept} of {every} shown"
    assert set(shown.evaluate_all("found => found.map(a => a.dataset.decision)")) == {"kept"}
    page.select_option("select[name=sort]", "total")
    totals = shown.evaluate_all("found => found.map(a => Number(a.dataset.total))")
    assert totals == sorted(totals)
    page.select_option("select[name=decision]", "")
    page.select_option("select[name=kind]", "near miss")
    page.select_option("select[name=sort]", "lacks")
    lacks = shown.evaluate_all("found => found.map(a => Number(a.dataset.lacks))")
    assert lacks == sorted(lacks) and lacks
    page.select_option("select[name=kind]", "")
    page.fill("input[name=words]", "第17只表")
    assert all("第17只表" in text for text in shown.evaluate_all("found => found.map(a => a.textContent)"))
    page.fill("input[name=words]", "没有这样的话")
    assert shown.count() == 0 and page.inner_text("#shown") == f"0 of {every} shown"


@pytest.mark.slow
def test_a_phone_and_the_dark(visit: Any) -> None:
    phone = visit(viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    dark = phone.evaluate("getComputedStyle(document.body).backgroundColor")
    light = visit(color_scheme="light").evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light


@pytest.mark.slow
def test_what_a_screen_reader_finds(visit: Any) -> None:
    page = visit()
    assert page.get_by_role("main").count() == 1 and page.get_by_role("navigation").count() == 1
    assert page.locator("svg:not([role=img])").count() == 0 and page.locator("svg:not([aria-label])").count() == 0
    assert page.locator("table:not(:has(caption))").count() == 0
    unnamed = page.locator("select, input").evaluate_all("found => found.filter(e => !e.labels.length).length")
    assert unnamed == 0
    levels = page.locator("h1, h2").evaluate_all("found => found.map(e => e.tagName)")
    assert levels[0] == "H1" and levels.count("H1") == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run that people labelled, whose annotator and genre have a script's name."""
    folder = tmp_path_factory.mktemp("calibrated")
    run = judged(folder)
    more = ["--golden", run, "--annotators", "--resamples", "20"]
    assert main(["calibrate", run, "--labels", labels(folder), *more]) == 0
    assert main(["report", run]) == 0
    return Path(run, "report.html").as_uri()


@pytest.mark.slow
def test_judge_and_people_are_drawn_and_told(visit: Any, calibrated: str) -> None:
    page = visit(calibrated, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("window.pwned") is None and page.said == []
    people = page.locator("section:has(> h2#people)")
    assert HOSTILE in people.inner_text() and people.locator("script").count() == 0
    assert people.locator("svg:not([role=img]), svg:not([aria-label])").count() == 0
    assert people.locator("table:not(:has(caption))").count() == 0
    figure = people.locator("figure", has_text="answer.quality").first
    assert figure.locator("circle").count() > 5 and not figure.locator("table").first.is_visible()
    figure.locator("summary").click()
    assert figure.locator("table").first.is_visible() and figure.locator("table.cross td").count() == 121
    shapes = page.locator(".lane u").evaluate_all(
        "found => found.map(e => [e.offsetLeft, e.parentElement.clientWidth])"
    )
    assert shapes and all(-3 <= left <= width for left, width in shapes), "every mark lies on its axis"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_says_that_scores_mean_nothing(visit: Any) -> None:
    assert "MEANINGLESS" in visit().inner_text("header")


def test_the_page_is_a_file_of_its_own(url: str) -> None:
    assert Path(url.removeprefix("file://")).stat().st_size < 4_000_000
