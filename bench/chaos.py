"""What kills cost: the chaos test at any length. Two Ray nodes on this machine, a scripted judge with two replicas.

    .venv/bin/python bench/chaos.py --kills 20 --seed 7     # about two minutes on 2 CPU cores

Kills -9 the command, a judge's process, what stands for its engine, or a whole worker node, at random moments, and
compares rows, decisions, scores, reasons and facts with an undisturbed run. Prints a table, and as its last line one
JSON object; exits 1 where a row or fact differs, or more was asked again than the job's constants allow.
The work is done in tests/chaos.py.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import chaos


def main() -> int:
    """Run the chaos; print the table and the JSON object."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="coigw-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(options.keep or name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            figures = chaos.scripted(folder, options.kills, options.seed)
        except AssertionError as error:
            print(f"chaos: seed {options.seed}: {error}", file=sys.stderr)
            return 1
    print(figures.table())
    print(json.dumps(figures.summary()))
    return 0 if figures.again <= figures.bound else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="kills in all (default: 20)")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="of kinds and pauses (default: by chance)")
    parser.add_argument("--keep", metavar="DIR", help="keep stores, runs and logs there (default: thrown away)")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error("--kills is at least 1")
    options.seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    return options


if __name__ == "__main__":
    sys.exit(main())
