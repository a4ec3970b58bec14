"""Jobs that are submitted to a real Ray cluster: a head and a second node on this machine, each with its own folder.

The nodes find the scripted judge; our package comes with the job, from the working directory.
"""

import json
import os
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
from chaos import triplets
from nodes import ROOT, Nodes, environment, kill_all, living, named, wait_for

from coigw_judge.cli import job_scripts as front
from coigw_judge.cli.main import main
from coigw_judge.fill.filler import FLUSH_SECONDS
from coigw_judge.job.job import load_job
from coigw_judge.run import earlier_run as earlier

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


def asked(folder: Path) -> list[str]:
    log = folder / "asks.log"
    return log.read_text().splitlines() if log.exists() else []


def manifest(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/triplets-*/manifest.json")
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def readable(log: str) -> None:
    """Nothing in a log that a person did not ask for: colours, bars, what Ray says of itself, tracebacks."""
    for noise in ("\r", "\x1b", "(raylet)", "pid=", "Traceback", "Running Dataset", "ray.data"):
        assert noise not in log, log[-3000:]


# On the cluster


@pytest.mark.slow
def test_a_submitted_job_survives_the_loss_of_a_node_and_its_log_is_readable(cluster: Cluster, tmp_path: Path) -> None:
    count = 300
    job = cluster.submit("jobs/triplets.py", *options(tmp_path, count, 0.05))
    there = cluster.nodes.worker
    wait_for(lambda: bool(named(living(there), "JudgeActor")) and len(asked(tmp_path)) > 200, "both nodes judge")
    assert cluster.status(job)["status"] == "RUNNING"
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
    pace, count = 0.5, 600
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
    count = 6
    options(tmp_path, count, 0)
    keys = ["judge.model=embedded", "judge.retries=0", "judge.engine_args.max_num_seqs=16", "max_unscored=1"]
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


# Without one


def test_relative_paths_are_remembered_as_they_were_given(write_job: Any, tmp_path: Path) -> None:
    path = write_job(
        [{"answer": "短文"}],
        store="facts",
        out="s3://bucket/runs",
        input={"paths": ["a.jsonl", "/b.jsonl", "~/c.jsonl"]},
    )
    assert load_job(path).relative == ("input.paths a.jsonl", "store facts")
    assert load_job(path, store="mine", input_paths=["/a.jsonl", "b/*.jsonl"]).relative == (
        "--input b/*.jsonl",
        "--store mine",
    )
    assert load_job(path, ["store=../x"], input_paths=["/a"]).relative == ("store ../x",)
    assert load_job(path, store="/f", input_paths=["s3://a/b"]).relative == ()


def package(write_job: Any, tmp_path: Path, **keys: Any) -> Path:
    """A job file where Ray unpacks working directories."""
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    folder.mkdir(parents=True)
    return Path(shutil.move(write_job([{"answer": "短文"}], **keys), folder / "job.yaml"))


@pytest.mark.parametrize(
    "left_out, word", [("--input", "input.paths rows.jsonl"), ("--store", "store facts"), ("--out", "out runs")]
)
def test_a_path_in_a_package_is_refused(write_job: Any, tmp_path: Path, capsys: Any, left_out: str, word: str) -> None:
    job = package(write_job, tmp_path)
    given = dict(zip(places(tmp_path)[::2], places(tmp_path)[1::2], strict=True))
    del given[left_out]
    assert main(["run", str(job), *(part for pair in given.items() for part in pair)]) == 2
    told = capsys.readouterr().err
    assert (
        f"job.yaml: {word}: lies inside" in told and "working-directory package" in told and len(told.splitlines()) == 1
    )


def test_an_absolute_path_into_a_package_is_refused_too(write_job: Any, tmp_path: Path, capsys: Any) -> None:
    job = package(write_job, tmp_path)
    assert main(["run", str(job), *places(tmp_path), "--store", str(job.parent / "facts")]) == 2
    assert f"store {job.parent}/facts: lies inside" in capsys.readouterr().err


def test_no_token_and_an_address_for_submissions_are_told_plainly(tmp_path: Path, write_job: Any) -> None:
    job = str(write_job([{"answer": "短文"}]))
    command = [sys.executable, "-m", "coigw_judge.cli", "run", job]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    nobody = kept | {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_ADDRESS": "127.0.0.1:1"}
    for env, words in (
        (nobody, ("RAY_AUTH_MODE is token, and there is no token", "RAY_AUTH_TOKEN_PATH")),
        (kept | {"RAY_ADDRESS": "http://127.0.0.1:8265"}, ("RAY_ADDRESS: http://127.0.0.1:8265", "host:6379")),
    ):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("coigw-judge: ") and len(done.stderr.splitlines()) == 1
        assert all(word in done.stderr for word in words)


# What a rescoring is set against


@pytest.mark.usefixtures("ray_cluster")
class TestRescoring:
    """The script itself, on a local cluster."""

    def rescore(self, job: Path, *more: str) -> int:
        return front.rescore(str(ROOT / "jobs" / "rescore.py"), ["--job", str(job), *more])

    def test_it_asks_what_changed_and_ends_with_the_diff(self, write_job: Any, tmp_path: Path, capsys: Any) -> None:
        job = write_job(triplets(20), samples={"repeat": 1.0}, early_exit=False)
        assert main(["run", str(job)]) == 0
        (before,) = (tmp_path / "runs").iterdir()
        count = len(asked(tmp_path))
        capsys.readouterr()
        assert self.rescore(job, "--set", "gate.each=6", "--set", "gate.total=36") == 0
        told = capsys.readouterr().out
        assert told.index("run folder: ") < told.index("Decisions of joined rows: A down, B across")
        assert str(before) in told and len(asked(tmp_path)) == count, "another gate asks nothing"

    def test_it_takes_the_newest_run_over_the_same_input(self, write_job: Any, tmp_path: Path, capsys: Any) -> None:
        job = write_job(triplets(8))
        other = tmp_path / "other.jsonl"
        shutil.copy(tmp_path / "rows.jsonl", other)
        for given in ([], [], ["--input", str(other)]):
            assert main(["run", str(job), *given]) == 0
        names = {path.name: json.loads((path / "manifest.json").read_text()) for path in (tmp_path / "runs").iterdir()}
        fitting = [name for name, told in names.items() if told["configuration"]["input"]["paths"] == ["rows.jsonl"]]
        assert len(fitting) == 2
        loaded = load_job(job)
        assert earlier.run_over_same_input(loaded) == f"{tmp_path}/runs/{newest(fitting)}"
        absolute = load_job(job, input_paths=[str(tmp_path / "rows.jsonl")])
        assert earlier.run_over_same_input(absolute) == earlier.run_over_same_input(loaded), "the same file"
        torn = tmp_path / "runs" / "test-29991231-235959-abcd"
        torn.mkdir()
        incomplete = tmp_path / "runs" / "test-29991231-235958-abcd"
        shutil.copytree(tmp_path / "runs" / fitting[0], incomplete)
        (incomplete / "manifest.json").write_text(json.dumps(names[fitting[0]] | {"complete": False}))
        assert earlier.run_over_same_input(loaded) == f"{tmp_path}/runs/{newest(fitting)}"

    def test_without_an_earlier_run_nothing_is_asked(self, write_job: Any, tmp_path: Path, capsys: Any) -> None:
        job = write_job(triplets(4))
        assert self.rescore(job) == 2
        told = capsys.readouterr().err
        assert "holds no complete run over" in told and "--against" in told and not asked(tmp_path)
        assert self.rescore(job, "--against", str(tmp_path / "nowhere")) == 2
        assert "nowhere: is no run folder" in capsys.readouterr().err and not asked(tmp_path)


def newest(names: list[str]) -> str:
    """By the second in which they began, as their names say; of one second any that sorts last."""
    return max(names, key=lambda name: name.rsplit("-", 3)[1:])


@pytest.mark.parametrize("name", ["prefilter", "pairs", "triplets", "rescore"])
def test_every_script_has_its_job_and_takes_the_options_of_run(name: str, capsys: Any) -> None:
    assert load_job(ROOT / "jobs" / f"{name}.yaml").config.name == name
    script = str(ROOT / "jobs" / f"{name}.py")
    done = subprocess.run(
        [sys.executable, script, "--help"],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.defpath},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    of_run = {word for word in capsys.readouterr().out.split() if word.startswith("--")}
    assert of_run and all(option in done.stdout for option in of_run)


def test_an_exit_code_other_than_0_stands_in_the_manifest(write_job: Any, tmp_path: Path, ray_cluster: None) -> None:
    judge = {"engine": "scripted_judge:ScriptedJudge", "options": {"fail": {"thought": "length"}}, "retries": 0}
    job = write_job(triplets(5), judge=judge, early_exit=False)
    assert main(["run", str(job)]) == 1
    (path,) = (tmp_path / "runs").glob("*/manifest.json")
    assert json.loads(path.read_text())["exit_code"] == 1
