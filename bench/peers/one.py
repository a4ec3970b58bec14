"""One system in a process of its own; compare.py calls it.

python bench/peers/one.py SYSTEM JOB.yaml FIGURES.json STARTED    (STARTED as time.time())
"""

import importlib
import sys

import systems

PEERS = {
    "ray-data-llm": "stock_ray",
    "datatrove": "by_datatrove",
    "distilabel": "by_distilabel",
    "daft": "by_daft",
    "data-juicer": "by_data_juicer",
}
"""The module of this folder that runs each."""

if __name__ == "__main__":
    if sys.argv[1] in PEERS:
        systems.leave(importlib.import_module(PEERS[sys.argv[1]]).judge, *sys.argv[1:])
    else:
        systems.main(*sys.argv[1:])
