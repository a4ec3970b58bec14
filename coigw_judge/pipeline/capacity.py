"""Room for the replicas on a cluster: whether they fit, and what Ray sets aside for each.

One replica lives on one node. What no node can ever hold is refused before a model is loaded, with the numbers. Ray
itself would wait for ever, silently. A cluster that grows can hold more than it has: Ray 2.60 tells a job what it may
become only where the platform reports it to Ray's control store (KubeRay and `ray up` do not), so a job says by
judge.wait how long the missing nodes may take. They are asked for meanwhile.

Processors: a replica on GPUs has a process per GPU and one that feeds them; an engine on processors has an equal share
of its node. In any case one processor of each node stays free for the tasks that read records.
GPUs that others use are counted as free: Ray then waits for them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf

import ray
from ray.autoscaler.sdk import request_resources

from coigw_judge.errors import FixJob
from coigw_judge.judges.config import JudgeConfig
from coigw_judge.judges.engines import engine_of

_LEAST = 0.01
"""The least share of a processor that Ray can set aside."""


@dataclass(frozen=True, slots=True)
class Node:
    """The processors and GPUs that Ray counts on one node."""

    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What Ray sets aside for one replica."""

    gpus: float
    cpus: float
    per_node: int = 0
    """How many replicas share a node's cores at most; 0 where the engine is not bound to cores."""


def alive_nodes() -> list[Node]:
    """The nodes of the cluster that Ray is connected to."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(held.get("CPU", 0.0), held.get("GPU", 0.0)) for held in resources]


@dataclass(frozen=True, slots=True)
class Cluster:
    """How a cluster is looked at, and asked to grow."""

    nodes: Callable[[], list[Node]] = alive_nodes
    """Lists its nodes."""
    request: Callable[[list[dict[str, float]]], None] = lambda bundles: request_resources(bundles=bundles)
    """Asks the autoscaler for room for such bundles."""
    look_seconds: float = 2.0
    """Between two looks while waiting."""


def find_room(judge: JudgeConfig, say: Callable[[str], None], cluster: Cluster = Cluster()) -> Share:
    """What each replica gets on this cluster, once there is room for the least number of them.

    Waits up to judge.wait seconds for the room; then raises FixJob, with the numbers.
    """
    engine, (least, most) = engine_of(judge), judge.replica_range
    gpus = engine.gpus_per_replica()
    until = time.monotonic() + judge.wait
    nodes = cluster.nodes()
    asked = False
    while (why := no_room(nodes, gpus, least)) and time.monotonic() < until:
        if not asked:
            say(f"waiting up to {judge.wait:g} s for the cluster to grow: {why}")
            cluster.request([{"GPU": ceil(gpus), "CPU": 1}] * least)
            asked = True
        time.sleep(min(cluster.look_seconds, max(0.0, until - time.monotonic())))
        nodes = cluster.nodes()
    if asked:
        cluster.request([])
    if why:
        waited = (
            f", after {judge.wait:g} s of waiting" if asked else "; where the cluster grows, judge.wait says how long"
        )
        raise FixJob(f"judge.replicas: {why}{waited}")
    return share(nodes, gpus, most, engine.processors(gpus))


def holds(node: Node, gpus: float) -> int:
    """How many replicas of `gpus` GPUs each a node can hold. A fraction of a GPU lies on one GPU."""
    if not node.cpus:
        return 0
    return int(node.gpus) * int(1 / gpus + 1e-9) if gpus < 1 else int(node.gpus // gpus)


def no_room(nodes: Sequence[Node], gpus: float, least: int) -> str:
    """Why `least` replicas do not fit, with the numbers, or an empty string."""
    if not gpus:
        return ""
    there = [holds(node, gpus) for node in nodes]
    if sum(there) >= least:
        return ""
    numbers = ", ".join(f"{node.gpus:g}" for node in sorted(nodes, key=lambda node: -node.gpus)[:8])
    numbers += f" and less on {len(nodes) - 8} more" if len(nodes) > 8 else ""
    have = f"GPUs on the cluster's {len(nodes)} nodes: {numbers}" if len(nodes) > 1 else f"the cluster has {numbers}"
    if any(there):
        return f"{least} of {gpus:g} GPUs each do not fit; {have}, which hold {sum(there)}"
    if max((node.gpus for node in nodes), default=0) >= gpus:
        return (
            f"a replica takes {gpus:g} GPUs and a part of a processor, and no node with GPUs has any processor for Ray"
        )
    return f"a replica takes {gpus:g} GPUs of one node, and no node has as many; {have}"


def share(nodes: Sequence[Node], gpus: float, most: int, wanted: float) -> Share:
    """What each of at most `most` replicas gets, so that all fit and a processor of each node stays free.

    `wanted` processors are what one can use (Engine.processors).
    """
    able = [node for node in nodes if (holds(node, gpus) if gpus else node.cpus)]
    if not able:
        return Share(gpus=gpus, cpus=1.0)  # a cluster that has no processors yet will grow
    spread = ceil(most / len(able))
    crowds = [min(most, holds(node, gpus)) if gpus else spread for node in able]
    for_each = min(_spare(node.cpus) / crowd for node, crowd in zip(able, crowds, strict=True))
    return Share(
        gpus=gpus, cpus=max(_LEAST, int(100 * min(wanted, for_each)) / 100), per_node=spread if wanted == inf else 0
    )


def _spare(cpus: float) -> float:
    """All processors of a node but one; of a single one less than half, for a task that reads takes half."""
    return cpus - 1 if cpus > 1 else 0.4 * cpus
