"""Jobs that are submitted to a real Ray cluster: a head and a second node on this machine, each with its own folder.

The nodes find the scripted judge; our package comes with the job, from the working directory.
"""

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import chaos
import httpx
import psutil
import pytest
import yaml
from chaos import asked, triplets
from nodes import ROOT, Nodes, environment, kill_all, living, named, wait_for

from coigw_judge.fill.filler import FLUSH_SECONDS

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
CONCURRENCY, REPLICAS = 16, 2
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class Cluster:
    """Two nodes, and the command `ray job`."""

    def __init__(self, folder: Path) -> None:
        self.nodes = Nodes(folder, dashboard=True, path=str(ROOT / "tests"))
        self._env = environment(**self.nodes.settings) | {"RAY_ADDRESS": self.nodes.jobs}
        token = self.nodes.settings["RAY_AUTH_TOKEN"]
        self._http = httpx.Client(base_url=self.nodes.jobs, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        wait_for(lambda: self._get("/api/jobs/") is not None, "the job server answers")

    def _get(self, path: str) -> Any:
        with suppress(httpx.HTTPError):
            answer = self._http.get(path)
            return answer.json() if answer.status_code == 200 else None
        return None

    def ray(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*RAY, "job", *arguments], env=self._env, capture_output=True, text=True, timeout=600)

    def submit(self, *entry: str, working_dir: Path = ROOT) -> str:
        """Submit and go on; returns the name of the submission."""
        name = f"test-{uuid.uuid4().hex[:8]}"
        options = ["--no-wait", "--working-dir", str(working_dir), "--submission-id", name]
        done = self.ray("submit", *options, "--", "python", *entry)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return name

    def status(self, job: str) -> dict[str, Any]:
        return self._get(f"/api/jobs/{job}") or {"status": "?"}

    def end(self, job: str) -> dict[str, Any]:
        """Wait for it; what Ray says of it."""
        wait_for(lambda: self.status(job)["status"] in ENDED, f"{job} ends", 900)
        return self.status(job)

    def log(self, job: str) -> str:
        """What `ray job logs` prints, less that command's own words, which are coloured."""
        return str(self._get(f"/api/jobs/{job}/logs")["logs"])

    def actors(self) -> list[psutil.Process]:
        return named(self.nodes.processes(), "JudgeActor")

    def close(self) -> None:
        self._http.close()
        self.nodes.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    yield found
    found.close()


def options(folder: Path, rows: int, pace: float) -> list[str]:
    """Options of a script of jobs/ for the scripted judge over triplets in a folder."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in triplets(rows))
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "pace").write_text(str(pace))
    judge = {
        "engine": "scripted_judge:ScriptedJudge",
        "model": "scripted",
        "concurrency": CONCURRENCY,
        "replicas": REPLICAS,
        "options": {
            name: str(folder / file) for name, file in (("log", "asks.log"), ("pace", "pace"), ("whence", "whence"))
        },
    }
    return [*places(folder), "--set", f"judge={json.dumps(judge)}"]


def places(folder: Path) -> list[str]:
    return ["--input", str(folder / "rows.jsonl"), "--store", str(folder / "facts"), "--out", str(folder / "runs")]


def manifest(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/triplets-*/manifest.json")
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def readable(log: str) -> None:
    """Nothing in a log that a person did not ask for: colours, bars, what Ray says of itself, tracebacks."""
    for noise in ("\r", "\x1b", "(raylet)", "pid=", "Traceback", "Running Dataset", "ray.data"):
        assert noise not in log, log[-3000:]


@pytest.mark.slow
def test_a_submitted_job_survives_the_loss_of_a_node_and_its_log_is_readable(cluster: Cluster, tmp_path: Path) -> None:
    count = 300
    job = cluster.submit("jobs/triplets.py", *options(tmp_path, count, 1))  # slow enough for both nodes to begin
    there = cluster.nodes.worker
    wait_for(lambda: bool(named(living(there), "JudgeActor")) and len(asked(tmp_path)) > 100, "both nodes judge")
    assert cluster.status(job)["status"] == "RUNNING"
    (tmp_path / "pace").write_text("0.05")
    kill_all(living(there))
    cluster.nodes.add()
    ended = cluster.end(job)
    log = cluster.log(job)
    assert ended["status"] == "SUCCEEDED" and ended["driver_exit_code"] == 0, log
    rows = chaos.verdicts(tmp_path / "runs")
    assert {row["id"] for row in rows.values()} == {row["id"] for row in triplets(count)}
    assert {row["decision"] for row in rows.values()} <= {"kept", "review", "dropped"}
    assert manifest(tmp_path)["exit_code"] == 0
    chaos.torn_free(tmp_path / "facts")
    readable(log)
    assert f"scanned {count} rows" in log and "judging: starting the judge" in log and "run folder: " in log
    niceness, whence = zip(
        *(line.split(maxsplit=1) for line in (tmp_path / "whence").read_text().splitlines()), strict=True
    )
    assert set(niceness) == {"0"}, "Ray's own workers are at 15; the engine goes before them"
    assert all("/working_dir_files/_ray_pkg_" in path for path in whence), "nothing needs to be installed"


@pytest.mark.slow
def test_a_stopped_job_leaves_nothing_behind_and_goes_on_where_it_was_and_rescoring_prints_the_diff(
    cluster: Cluster, tmp_path: Path
) -> None:
    pace, count = 0.5, 300
    one_interval = REPLICAS * CONCURRENCY * (1 + FLUSH_SECONDS / pace)
    given = options(tmp_path, count, pace)
    job = cluster.submit("jobs/triplets.py", *given)
    wait_for(lambda: len(asked(tmp_path)) > 2 * one_interval, "the judge is asked")
    assert cluster.ray("stop", job).returncode == 0
    assert cluster.end(job)["status"] == "STOPPED"
    wait_for(lambda: not cluster.actors(), "the actors are gone", 60)
    before, flushed = asked(tmp_path), set(chaos.facts(tmp_path / "facts"))
    assert 0 < len(before) - 1.5 * one_interval <= len(flushed) <= len(before) < 5 * count, (
        "what is lost is one interval"
    )
    readable(cluster.log(job))

    (tmp_path / "pace").write_text("0")
    job = cluster.submit("jobs/triplets.py", *given)
    assert cluster.end(job)["status"] == "SUCCEEDED", cluster.log(job)
    again = {bytes.fromhex(line.split()[1]) for line in asked(tmp_path)[len(before) :]}
    assert not again & flushed, "what was flushed is not asked again"
    assert len(chaos.verdicts(tmp_path / "runs")) == count
    assert len(again) + len(flushed) == 5 * count == len(set(chaos.facts(tmp_path / "facts")))

    gate = ["--set", "samples.repeat=0", "--set", "gate.each=7", "--set", "gate.total=46"]
    job = cluster.submit("jobs/rescore.py", *given, *gate)
    assert cluster.end(job)["status"] == "SUCCEEDED", cluster.log(job)
    log = cluster.log(job)
    readable(log)
    assert "asks: 0 made" in log and "Decisions of joined rows: A down, B across" in log
    assert f"{tmp_path}/runs/triplets-" in log, "the run that it is set against"


@pytest.mark.slow
def test_a_users_own_job_in_the_package_finds_its_rubric_and_needs_shared_places(
    cluster: Cluster, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    for name in ("coigw_judge", "rubrics", "prompts"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    rubric = yaml.safe_load((ROOT / "rubrics" / "answer.yaml").read_text(encoding="utf-8"))
    (package / "mine").mkdir()
    (package / "mine" / "style.yaml").write_text(yaml.safe_dump({**rubric, "name": "style"}, allow_unicode=True))
    own = {
        "name": "own",
        "input": {"paths": ["../rows.jsonl"]},
        "rubrics": ["style.yaml"],
        "gate": {"each": 7},
        "judge": {"model": "x"},
    }
    (package / "mine" / "job.yaml").write_text(yaml.safe_dump(own))
    given = options(tmp_path, 40, 0)
    shutil.copy(tmp_path / "rows.jsonl", package)

    job = cluster.submit("-m", "coigw_judge.cli", "run", "mine/job.yaml", *given, working_dir=package)
    refused = cluster.submit(
        "-m", "coigw_judge.cli", "run", "mine/job.yaml", "--out", str(tmp_path / "no"), working_dir=package
    )
    assert cluster.end(job)["status"] == "SUCCEEDED", cluster.log(job)
    rows = chaos.verdicts(tmp_path / "runs").values()
    assert len(rows) == 40 and all(row["style.quality"] is not None for row in rows)

    ended, log = cluster.end(refused), cluster.log(refused)
    assert ended["status"] == "FAILED" and ended["driver_exit_code"] == 2
    (line,) = [line for line in log.splitlines() if line.startswith("coigw-judge:")]
    assert (
        "job.yaml: input.paths ../rows.jsonl" in line
        and "working-directory package" in line
        and "--input, --store" in line
    )
    readable(log)
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
@pytest.mark.engine
def test_a_submitted_job_with_real_vllm(cluster: Cluster, tmp_path: Path) -> None:
    count = 3
    options(tmp_path, count, 0)
    keys = [
        "judge.model=embedded",
        "judge.retries=0",
        "judge.engine_args.max_num_seqs=16",
        "max_unscored=1",
        "reasons=none",
    ]
    given = [part for key in keys for part in ("--set", key)]
    job = cluster.submit("jobs/triplets.py", *places(tmp_path), *given)
    ended, log = cluster.end(job), cluster.log(job)
    assert ended["status"] == "SUCCEEDED", log
    readable(log)
    told = manifest(tmp_path)
    assert told["judge"]["engine"] == "vllm" and told["judge"]["meaningless"]
    assert told["asks"]["made"] == 5 * count and told["tokens"]["generated"] > 0
    assert len(chaos.verdicts(tmp_path / "runs")) == count
    wait_for(lambda: not named(cluster.nodes.processes(), "JudgeActor", "VLLM"), "the engine is gone", 60)


@pytest.mark.slow
def test_paths_that_not_all_nodes_share_are_told_before_anything_is_asked(cluster: Cluster, tmp_path: Path) -> None:
    """A process sees its own current directory below /proc/self/cwd: in a submitted job the node's copy of the package."""
    given = options(tmp_path, 10, 0)
    wanted = {
        "store": ("--store", "/proc/self/cwd/facts"),
        "out": ("--out", "/proc/self/cwd/runs"),
        "input": ("--input", "/proc/self/cwd/mine.jsonl"),
    }
    calls = {name: ["run", "jobs/triplets.yaml", *given, *changed] for name, changed in wanted.items()}
    code = (
        "import json, pathlib, sys\n"
        "from coigw_judge.cli.main import main\n"
        "pathlib.Path('mine.jsonl').write_text('{}')\n"  # on the driver's node alone
        "for name, call in json.loads(sys.argv[1]).items():\n"
        "    print('case', name, file=sys.stderr, flush=True)\n"
        "    print('exit', main(call), file=sys.stderr, flush=True)\n"
    )
    job = cluster.submit("-c", code, json.dumps(calls))
    assert cluster.end(job)["status"] == "SUCCEEDED", cluster.log(job)
    told = dict(part.split("\n", 1) for part in cluster.log(job).split("\ncase ")[1:])
    for name, words in {
        "store": ("store /proc/self/cwd/facts: node ", "does not see what the driver writes there", "--store"),
        "out": ("out /proc/self/cwd/runs: node ", "does not see what the driver writes there", "--out"),
        "input": ("input.paths: /proc/self/cwd/mine.jsonl: is not there on node ", "--input"),
    }.items():
        message, status = told[name].strip().splitlines()[-2:]
        assert status == "exit 2" and message.startswith("coigw-judge: ") and all(word in message for word in words), (
            told[name]
        )
        assert "Traceback" not in told[name]

    env = environment(**cluster.nodes.settings)
    command = [sys.executable, "-m", "coigw_judge.cli", "run", "jobs/triplets.yaml", *given, "--store", "facts"]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "triplets.yaml: --store facts: is a relative path, and the cluster has 2 nodes" in done.stderr
    assert not asked(tmp_path)
    assert not list(tmp_path.rglob(".seen-*"))
