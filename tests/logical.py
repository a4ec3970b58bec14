"""Run the command line on a cluster of this process's own, whose GPUs exist in Ray's books only.

    python tests/logical.py GPUS CPUS COMMAND [ARGUMENT ...] [-- COMMAND [ARGUMENT ...]] ...

Prints one line with the exit statuses.
"""

import json
import sys
from itertools import groupby

import ray

from coigw_judge.cli.main import main

NO_CLUSTER = 75
"""Exit status where Ray did not start: it gives its node 30 s, which a crowded machine may not."""

if __name__ == "__main__":
    gpus, cpus, *rest = sys.argv[1:]
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(num_gpus=int(gpus), num_cpus=int(cpus), **quiet)
    except Exception as error:  # Ray raises no narrower type
        print(error, file=sys.stderr)
        sys.exit(NO_CLUSTER)
    commands = [list(group) for dashes, group in groupby(rest, lambda word: word == "--") if not dashes]
    print(json.dumps([main(command) for command in commands]))
    ray.shutdown()
