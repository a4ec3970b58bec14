"""Processes that a test starts, looks for and kills; and a Ray cluster of two nodes on this machine.

Nothing is looked for but what descends from processes that were started here.
Not known here: what runs on the nodes.
"""

import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import ray.util

ROOT = Path(__file__).parents[1]
WAIT_SECONDS = 240
_NODE_CPUS = 3


_OF_A_LOCAL_CLUSTER = {
    *("RAY_ADDRESS", "RAY_enable_metrics_collection", "RAY_metrics_report_interval_ms"),
    "RAY_task_events_report_interval_ms",
}


def environment(**more: str) -> dict[str, str]:
    """For the processes started here: our package and the scripted judge can be imported on every node."""
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own = {"PATH": commands, "PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}
    # A local cluster of this process, as other tests have one, leaves its own settings behind: no metrics among them.
    kept = {name: value for name, value in os.environ.items() if name not in _OF_A_LOCAL_CLUSTER}
    return {**kept, **own, **more}


def living(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def session_of(leader: int) -> list[psutil.Process]:
    """All that were started in a session, also those whose parents are gone."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found


def kill_all(processes: list[psutil.Process]) -> None:
    """kill -9, and wait until they are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def left_of(processes: list[psutil.Process], seconds: float = 10) -> list[str]:
    """Names of those that still run after some seconds; one that only waits to be reaped does not."""
    until = time.monotonic() + seconds
    names = ["?"]
    while names and time.monotonic() < until:
        time.sleep(0.1)
        names = [process.name() for process in named(processes, "")]
    return names


def named(processes: list[psutil.Process], *names: str) -> list[psutil.Process]:
    """Those whose name or command line holds one of the names, without the ones that only wait to be reaped."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            title = " ".join([process.name(), *process.cmdline()])
            if process.status() != psutil.STATUS_ZOMBIE and any(name in title for name in names):
                found.append(process)
    return found


class Nodes:
    """A Ray cluster of two nodes on this machine: a head, and a worker that can be lost and had again.

    With a `dashboard` the head also takes submitted jobs, at `jobs`. `path` is where the processes of its nodes find
    modules. Each node has a folder of its own: two that share one delete each other's working directories. So has each
    its own current directory.
    """

    def __init__(self, folder: Path, *, dashboard: bool = False, path: str | None = None) -> None:
        # Ray's sockets lie below its folder, and a socket's path has at most 107 characters.
        self._short = tempfile.TemporaryDirectory(prefix="chaos-", dir="/tmp", ignore_cleanup_errors=True)
        self._folder = folder
        self._path = {} if path is None else {"PYTHONPATH": path}
        self._started = 0
        self.settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.head = ready(
            lambda: self._head(dashboard), lambda: _answers(self.settings["RAY_ADDRESS"]), "the head node"
        )
        self.worker = self.add()

    def _head(self, dashboard: bool) -> psutil.Popen:
        host = ray.util.get_node_ip_address()
        port, client, web = free_ports(host, 3)
        self.settings["RAY_ADDRESS"] = f"{host}:{port}"
        self.jobs = f"http://{host}:{web}"
        more = ["--include-dashboard=false"]
        if dashboard:
            more = ["--include-dashboard=true", f"--dashboard-host={host}", f"--dashboard-port={web}"]
        return self._start("--head", f"--port={port}", f"--ray-client-server-port={client}", *more)

    def add(self, *, wait: bool = True) -> psutil.Process:
        """Start a worker node; unless told otherwise return when it has joined the cluster."""
        if wait:
            self.worker = ready(self._worker, self._joined, "a worker node")
        else:
            self.worker = self._worker()
        return self.worker

    def _worker(self) -> psutil.Popen:
        return self._start(f"--address={self.settings['RAY_ADDRESS']}")

    def _joined(self) -> bool:
        """Whether the node that was started last is part of the cluster."""
        return b"Ray runtime started" in self._log().read_bytes()

    def _log(self) -> Path:
        return self._folder / f"node-{self._started}.log"

    def _start(self, *arguments: str) -> psutil.Popen:
        self._started += 1
        place = f"--temp-dir={self._short.name}/{self._started}"
        ports = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
        common = [place, f"--num-cpus={_NODE_CPUS}", "--object-store-memory=100000000", "--block"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *ports, *common]
        env = environment(**self.settings) | self._path
        cwd = self._folder / f"node-{self._started}"
        cwd.mkdir()
        with self._log().open("ab") as out:
            return psutil.Popen(command, stdout=out, stderr=out, env=env, cwd=cwd, start_new_session=True)

    def processes(self) -> list[psutil.Process]:
        """All of both nodes."""
        return living(self.head) + living(self.worker)

    def close(self) -> None:
        """End both nodes and remove their folder."""
        kill_all(self.processes())
        self._short.cleanup()


def free_ports(host: str, count: int) -> list[int]:
    """Ports that nobody listens at."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def ready(start: Callable[[], psutil.Popen], is_ready: Callable[[], bool], what: str) -> psutil.Popen:
    """Start a node until it is ready. On a busy machine Ray gives up its own start after half a minute, and a port that
    was free may be taken meanwhile; then it is started anew, on other ports."""
    for _ in range(5):
        node = start()
        until = time.monotonic() + 90
        while time.monotonic() < until and node.poll() is None:
            if is_ready():
                return node
            time.sleep(0.1)
        kill_all(living(node))
    raise TimeoutError(f"{what}: started five times and never ready")


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def wait_for(holds: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Return as soon as something holds. Raises TimeoutError where it does not in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
