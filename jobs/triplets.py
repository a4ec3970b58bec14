"""`coigw-judge run` with triplets.yaml. From a checkout on a laptop to a cluster:

ray job submit --working-dir . -- python jobs/triplets.py --input URI --store URI --out URI
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the nodes of a cluster have no project installed

from coigw_judge.cli.job_scripts import run

if __name__ == "__main__":
    sys.exit(run(__file__))
