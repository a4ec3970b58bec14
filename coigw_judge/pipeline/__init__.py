"""Scan, fill and select as Ray Data graphs: the only room that knows ray.

    cluster.py   a local cluster or the one that is there, and running plain tasks on it
    passes.py    scan, survey, select: no judge
    board.py     what the judge actors tell the driver, and what a restarted one must know
    judging.py   one replica: the actor that holds an engine
    filling.py   the graph from splits to the actor pool, and its watch

What a stage computes lives in scan.py, fill.py, survey.py and verdict.py.
Not known here: what a rubric or a gate is, how a judge is prompted.
"""

import os

# Ray would start a cluster of its own for any call that comes after ours has ended, such as from a thread of Ray Data.
# It reads this when it is imported, which the modules of this room do.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
