"""A changed job over what an earlier run has judged, and the diff between the two. From a checkout to a cluster:

ray job submit --working-dir . -- python jobs/rescore.py --input URI --store URI --out URI [--against RUN_FOLDER]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the nodes of a cluster have no project installed

from coigw_judge.cli.job_scripts import rescore

if __name__ == "__main__":
    sys.exit(rescore(__file__))
