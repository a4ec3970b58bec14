"""Run a job on a cluster of its own, once per name, each time without that name (hidden_names.py) of Ray.

    python tests/fill_without.py JOB FOLDER NAME ...

The store and the output of the n-th run lie in FOLDER/n. Prints, per name, the exit status and how often the package asked for
the name.
"""

import json
import sys

import ray.data  # noqa: F401  whole, before anything of it is hidden
from hidden_names import hidden

from coigw_judge.cli.main import main

if __name__ == "__main__":
    job, folder, *names = sys.argv[1:]
    found = []
    for n, name in enumerate(names):
        with hidden(name) as asked:
            status = main(["run", job, "--store", f"{folder}/{n}/facts", "--out", f"{folder}/{n}/runs"])
        found.append([status, len(asked)])
    print(json.dumps(found))
