"""What Prometheus gets of a run: scraped from a node of a real cluster, and held against the run's manifest."""

import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray.util
from chaos import triplets, write_job
from nodes import environment, free_ports, kill_all, living, named, ready, wait_for
from prometheus_client.parser import text_string_to_metric_families

from coigw_judge.fill.ledger import FLUSH_SECONDS, REQUEST_SECONDS
from coigw_judge.pipeline.metrics import COUNTERS, GAUGES, HISTOGRAMS, PREFIX

Series = dict[str, dict[frozenset[tuple[str, str]], float]]
_DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


class Scraped:
    """The head node of a cluster of one, and what its metrics endpoint says."""

    def __init__(self, folder: Path) -> None:
        # Ray's sockets lie below its folder, and a socket's path has at most 107 characters.
        self._short = tempfile.TemporaryDirectory(prefix="metrics-", dir="/tmp", ignore_cleanup_errors=True)
        self._folder = folder
        self._started = 0
        self.settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.settings |= {"RAY_metrics_report_interval_ms": "1000"}
        self.head = ready(self._start, lambda: bool(self.text()), "the head node's metrics")

    def _start(self) -> psutil.Popen:
        self._started += 1
        host = ray.util.get_node_ip_address()
        port, metrics = free_ports(host, 2)
        self._url = f"http://{host}:{metrics}/metrics"
        self.settings["RAY_ADDRESS"] = f"{host}:{port}"
        arguments = ["--head", f"--port={port}", f"--metrics-export-port={metrics}"]
        arguments += [f"--temp-dir={self._short.name}/{self._started}", "--include-dashboard=false", "--num-cpus=3"]
        arguments += ["--block"]
        arguments += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
        arguments += ["--object-store-memory=100000000"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments]
        with (self._folder / "head.log").open("ab") as out:
            return psutil.Popen(
                command, stdout=out, stderr=out, env=environment(**self.settings), start_new_session=True
            )

    def text(self) -> str:
        """The page that Prometheus would get; empty where there is none yet."""
        with suppress(OSError), urllib.request.urlopen(self._url, timeout=10) as page:
            return str(page.read().decode())
        return ""

    def series(self) -> Series:
        """Our samples: name -> labels -> value. Labels that Ray adds are left out, but for those of a histogram."""
        found: Series = defaultdict(dict)
        lines = [line for line in self.text().splitlines(keepends=True) if f"ray_{PREFIX}" in line]
        for family in text_string_to_metric_families("".join(lines)):
            for sample in family.samples:
                if sample.name.startswith(f"ray_{PREFIX}"):
                    ours = frozenset((k, v) for k, v in sample.labels.items() if k.islower() and "otel" not in k)
                    found[sample.name.removeprefix(f"ray_{PREFIX}")][ours] = sample.value
        return found

    def of(self, labels: Iterable[tuple[str, str]]) -> Series:
        """Those samples that have these labels."""
        wanted = set(labels)
        kept = {name: {at: n for at, n in found.items() if wanted <= at} for name, found in self.series().items()}
        return defaultdict(dict, kept)

    def types(self) -> dict[str, str]:
        """Our metrics' types, by the names that Prometheus knows them under."""
        return dict(re.findall(rf"^# TYPE (ray_{PREFIX}\S+) (\S+)$", self.text(), re.MULTILINE))

    def close(self) -> None:
        """End the node and remove its folder."""
        kill_all(living(self.head))
        self._short.cleanup()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    node = Scraped(tmp_path_factory.mktemp("node"))
    yield node
    node.close()


def run(job: Path, node: Scraped) -> dict[str, Any]:
    """Run a job on the node's cluster; its manifest."""
    command = [sys.executable, "-m", "coigw_judge.cli", "run", str(job)]
    done = subprocess.run(command, env=environment(**node.settings), capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stderr[-3000:]
    return manifest_of(job)


def manifest_of(job: Path) -> dict[str, Any]:
    (path,) = (job.parent / "runs").glob("*/manifest.json")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def total(series: dict[frozenset[tuple[str, str]], float], by: str = "") -> dict[str, float] | float:
    """The sum of series, or sums by a label's values."""
    sums: dict[str, float] = defaultdict(float)
    for labels, value in series.items():
        sums[dict(labels).get(by, "")] += value
    return dict(sums) if by else sums[""]


@pytest.mark.slow
def test_what_prometheus_scrapes_is_what_the_manifest_says(scraped, tmp_path):
    rows = triplets(90)
    options = {"cached": True, "fail": {"query": "嗯"}, "seconds": 0.02, "counts": ["429"]}
    judge = {"engine": "scripted_judge:ScriptedJudge", "replicas": 2, "retries": 1, "options": options}
    manifest = run(write_job(tmp_path, rows, judge, early_exit=False), scraped)
    asks, tokens = manifest["asks"], manifest["tokens"]
    ours = frozenset({("run", manifest["run"]), ("job_name", "chaos")})

    wait_for(lambda: bool(scraped.of(ours)["rows_decided_total"]), "the run's last metrics have come", 60)
    found = scraped.of(ours)
    assert total(found["requests_total"]) == asks["made"] == 3 * len(rows)
    assert total(found["requests_total"], "outcome")["unscored"] == total(found["unscored_total"]) > 0
    causes = {f"{dict(at)['rubric']}.{dict(at)['cause']}": n for at, n in found["unscored_total"].items()}
    assert causes == manifest["failures"] == {"query.malformed": len(rows)}
    assert total(found["retries_total"]) == asks["retried"] > 0
    assert total(found["prompt_tokens_total"]) == tokens["prompt"] > 0
    assert total(found["cached_tokens_total"]) == tokens["prompt_cached"] > 0
    assert total(found["generated_tokens_total"]) == tokens["generated"] > 0
    assert total(found["facts_written_total"]) == asks["made"]
    assert total(found["rows_decided_total"], "decision") == {k: n for k, n in manifest["decisions"].items() if n}
    assert total(found["server_events_total"], "event") == {"429": asks["made"] + asks["retried"]}
    assert set(total(found["prompt_tokens_total"], "replica")) == {"0", "1"}
    assert set(total(found["prompt_tokens_total"], "node")) == {ray.util.get_node_ip_address()}
    assert total(found["engine_starts_total"]) == 2 and not found["engine_deaths_total"]
    assert total(found["request_seconds_count"]) == asks["made"]
    assert set(total(found["request_seconds_bucket"], "le")) == {*map(str, REQUEST_SECONDS), "+Inf"}
    assert total(found["flush_seconds_count"]) > 0
    assert scraped.types().items() >= {(f"ray_{PREFIX}{name}", "histogram") for name in HISTOGRAMS}
    assert scraped.types().items() >= {
        (f"ray_{PREFIX}{name}", "counter") for name in found if name.endswith("_total") and found[name]
    }


@pytest.mark.slow
def test_gauges_show_what_is_in_hand_and_a_killed_actor_takes_no_count_with_it(scraped, tmp_path):
    pace = tmp_path / "pace"
    pace.write_text("0.5")  # at this pace the job lasts longer than anybody waits for it to be seen at work
    judge = {"engine": "scripted_judge:ScriptedJudge", "concurrency": 4, "options": {"pace": str(pace)}}
    job = write_job(tmp_path, triplets(1500), judge, name="killed")
    command = [sys.executable, "-m", "coigw_judge.cli", "run", str(job)]
    with (tmp_path / "log").open("wb") as log:
        driver = psutil.Popen(command, env=environment(**scraped.settings), stdout=log, stderr=log)

    def now(*names: str) -> list[float]:
        found = scraped.of({("job_name", "killed")})
        return [sum(found[name].values()) for name in names]

    def busy() -> bool:
        time.sleep(0.3)  # a page is work for the node
        flying, capacity, replicas, waiting, records, blocks, rows, asked = now(
            *("requests_in_flight", "requests_capacity", "replicas", "requests_waiting", "records", "blocks"),
            *("rows_open", "requests_total"),
        )
        at_work = flying == 4 == capacity and waiting > 0 < blocks and records > 4 and asked > 8 < rows
        gauges = {(f"ray_{PREFIX}{name}", "gauge") for name in GAUGES}
        return at_work and replicas == 1 and scraped.types().items() >= gauges

    try:
        wait_for(busy, "the metrics show a job at work")
        kill_all(named(living(scraped.head), "JudgeActor"))
        pace.write_text("0")
        assert driver.wait(480) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        kill_all(living(driver))
    wait_for(lambda: bool(now("rows_decided_total")[0]), "the run's last metrics have come", 60)
    manifest = manifest_of(job)
    assert now("requests_total") == [manifest["asks"]["made"]]
    assert now("prompt_tokens_total") == [manifest["tokens"]["prompt"]]
    assert now("engine_deaths_total", "engine_starts_total") == [1, 2]


def test_every_metric_stands_in_the_docs_with_its_type_and_tags():
    text = _DOCS.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `ray_coigw_judge_(\w+)` \| (.*) \|$", text, re.MULTILINE))
    wanted = {f"{name}_total": f"counter | {shown(tags)}" for name, (tags, _) in COUNTERS.items()}
    wanted |= {name: f"gauge | {shown(tags)}" for name, (tags, _) in GAUGES.items()}
    wanted |= {name: f"histogram | {shown(tags)}" for name, (tags, _, _) in HISTOGRAMS.items()}
    assert {name: row.rpartition(" | ")[0] for name, row in rows.items()} == wanted


def shown(tags: tuple[str, ...]) -> str:
    return ", ".join(tags) or "-"


def test_spans_rise():
    for bounds in (REQUEST_SECONDS, FLUSH_SECONDS):
        assert list(bounds) == sorted(set(bounds)) and bounds[0] > 0


def test_the_docs_ask_for_nothing_that_is_not_there():
    known = {f"{name}_total" for name in COUNTERS} | set(GAUGES) | set(HISTOGRAMS)
    known |= {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "count", "sum")}
    assert set(re.findall(r"ray_coigw_judge_(\w+)", _DOCS.read_text(encoding="utf-8"))) <= known
