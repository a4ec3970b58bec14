"""Scan, fill and select as Ray Data graphs: the only room that knows ray.

    cluster.py   a local cluster or the one that is there, and running plain tasks on it
    passes.py    scan, survey, select: no judge
    judging.py   one replica: the actor that holds an engine, and what it tells the driver
    filling.py   the graph from splits to the actor pool, and its watch

What a stage computes lives in scan.py, fill.py and verdict.py.
Not known here: what a rubric or a gate is, how a judge is prompted.
"""
