"""One system in a process of its own; compare.py calls it.

python bench/peers/one.py SYSTEM JOB.yaml FIGURES.json STARTED    (STARTED as time.time())
"""

import importlib
import sys

import systems

PEERS = {"ray-data-llm": "stock_ray"}
"""The module of this folder that runs each."""

if __name__ == "__main__":
    if sys.argv[1] in PEERS:
        systems.leave(importlib.import_module(PEERS[sys.argv[1]]).judge, *sys.argv[1:])
    else:
        systems.main(*sys.argv[1:])
