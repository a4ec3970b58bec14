"""Whether all nodes of a cluster mean the same by a job's paths.

A relative path lies on a disk of the node that runs the driver, or in the working-directory package of a submitted
job, of which every node has a copy that the next submission does not find. An absolute one may be a disk that only
some nodes have mounted, or that each has of its own. All of that is refused before anything is read or asked.
Judge actors on nodes that join later look for the fill's token themselves.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from pyarrow import fs
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from coigw_judge.errors import FixInput, FixJob, FixSource, FixStore
from coigw_judge.job.job import LoadedJob
from coigw_judge.storage.paths import is_uri, open_filesystem, resolve, write_atomic

_PACKAGES = "/runtime_resources/working_dir_files/"
"""Where Ray unpacks working-directory packages, below a node's session folder."""

_ANSWER_SECONDS = 120.0
"""How long a node may take to look; a slower one is taken to see the paths."""

_MEND = "as a URI or an absolute path that all nodes share"


def check_package(job: LoadedJob) -> None:
    """Refuse paths in a working-directory package; needs no cluster. Raises FixJob."""
    if not any(_PACKAGES in f"{place}/" for place in (Path.cwd(), job.path)):
        return
    inputs = [f"input.paths {path}" for path in job.config.input.paths]
    inside = [said for said in (*inputs, f"store {job.store}", f"out {job.out}") if _PACKAGES in said]
    trouble = [*job.relative, *(said for said in inside)]
    if trouble:
        raise FixJob(
            f"{job.path.name}: {trouble[0]}: lies inside a Ray working-directory package, of which each node has its "
            f"own copy, lost with the job; give --input, --store and --out {_MEND}"
        )


def check_nodes(job: LoadedJob) -> None:
    """Refuse paths that some node does not see as the driver does. A cluster of one node passes.

    Raises FixJob for a relative path, FixStore for store and out, FixSource for the input; FixInput where a node does
    not have our code.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(nodes) < 2:
        return
    if job.relative:
        raise FixJob(
            f"{job.path}: {job.relative[0]}: is a relative path, and the cluster has {len(nodes)} nodes; give {_MEND}"
        )
    fixed = [_before_wildcards(resolve(path, job.base)) for path in job.config.input.paths]
    inputs = sorted({path for path in fixed if not is_uri(path)})
    with _marked(job.store) as in_store, _marked(job.out) as in_out:
        missing = _ask_nodes(list(nodes), [in_store, in_out, *inputs])
    for path, blind in missing.items():
        where = f"node {nodes[blind[0]]}" + (f" and {len(blind) - 1} more" if blind[1:] else "")
        if path in inputs:
            raise FixSource(f"input.paths: {path}: is not there on {where}; give --input {_MEND}")
        name, folder = ("store", job.store) if path == in_store else ("out", job.out)
        raise FixStore(f"{name} {folder}: {where} does not see what the driver writes there; give --{name} {_MEND}")


@contextmanager
def _marked(folder: str) -> Iterator[str]:
    """A file in the folder for as long as the `with` lasts."""
    path = f"{folder.rstrip('/')}/.seen-{secrets.token_hex(8)}"
    filesystem, inner = open_filesystem(path)
    write_atomic(filesystem, inner, b"by the driver")
    try:
        yield path
    finally:
        with suppress(FileNotFoundError):
            filesystem.delete_file(inner)


def _ask_nodes(nodes: list[str], paths: list[str]) -> dict[str, list[str]]:
    """Which nodes do not see which of the paths."""
    look = ray.remote(num_cpus=0, max_retries=0)(_unseen)
    there = {node: NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes}
    asked = {look.options(scheduling_strategy=there[node]).remote(paths): node for node in nodes}
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS)
    missing: dict[str, list[str]] = {}
    for answer in ready:
        try:
            unseen = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            said = str(error).strip().splitlines()[-1]
            raise FixInput(
                f"a node cannot run our code ({said}); give all nodes the same, by `ray job submit --working-dir` or "
                "by installing it"
            ) from error
        except ray.exceptions.RayError:  # the node is lost meanwhile
            continue
        for path in unseen:
            missing.setdefault(path, []).append(asked[answer])
    return missing


def _unseen(paths: list[str]) -> list[str]:
    """The paths that do not exist on this node, or that it may not read."""
    return [path for path in paths if not _seen(path)]


def _seen(path: str) -> bool:
    try:
        filesystem, inner = open_filesystem(path)
        return bool(filesystem.get_file_info(inner).type != fs.FileType.NotFound)
    except OSError:
        return False


def _before_wildcards(path: str) -> str:
    """The path, or the folder above the first part of it that is a pattern."""
    parts = path.split("/")
    plain = next((n for n, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    return "/".join(parts[:plain]) or "/"
