"""Scan, fill and select as Ray Data graphs: the only room that knows ray.

    cluster.py       a local cluster, or the one that is there
    tasks.py         plain functions over a cluster
    passes.py        scan, survey, select: no judge
    fill_graph.py    the graph from splits to the actor pool, and its watch
    actor.py         one replica: the actor that holds an engine
    coordinator.py   the board on which judge actors and driver exchange reports
    capacity.py      do the replicas fit the cluster?
    shared_paths.py  do all nodes mean the same by a path?
    metrics.py       metrics for Prometheus
    ray_internals.py changes inside Ray, by private names that it may move

What a stage computes lives in scan/, fill/, standing/ and select/.
"""

import os

# Ray would start a cluster of its own for any call that comes after ours has ended, such as from a thread of Ray Data.
# It reads this when it is imported, which the modules of this room do.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
