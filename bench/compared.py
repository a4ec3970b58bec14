"""Two runs compared: the seconds and the peak memory of `diff`.

    .venv/bin/python bench/compared.py                # two million rows in each run
    .venv/bin/python bench/compared.py --rows 100000

Verdicts are drawn: ids of 20 characters, six scores, a check, a choice, one row in fifty re-asked; the second run has
the same records in another order, one in a hundred of them with other texts. The comparison runs in a process of its
own, so peak memory is its. Prints a line, and as its last line one JSON object.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from store import alone

from coigw_judge.diff.compare import compare

_PART = 50_000
_SCORES = [f"answer.score_{n}" for n in range(6)]
_DECISIONS = np.array(["kept", "review", "dropped"])


def main() -> int:
    """Make the runs, compare them, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000, metavar="N", help="of each run (default: 2 million)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coigw-bench-") as name:
        for side, seed in (("a", 1), ("b", 2)):
            make(Path(name) / side, options.rows, seed)
        print("bench: the runs are written", file=sys.stderr, flush=True)
        found = alone(compared, f"{name}/a", f"{name}/b")
    print(f"{options.rows:,} rows in each run: {found['s']:.1f} s, peak {found['peak_bytes'] / 2**20:,.0f} MiB")
    print(json.dumps({"rows": options.rows, **found}))
    return 0


def compared(a: str, b: str) -> dict[str, Any]:
    """The step that is measured."""
    report = compare((a, b))
    flips = report["unchanged"]["flips"]
    return {"joined": report["join"]["joined"], "changed": report["join"]["changed"], "flips": flips}


def make(folder: Path, rows: int, seed: int) -> None:
    """A run folder of drawn verdicts."""
    (folder / "verdicts").mkdir(parents=True)
    drawn = np.random.default_rng(seed)
    order = np.arange(rows) if seed == 1 else drawn.permutation(rows)
    for part, first in enumerate(range(0, rows, _PART)):
        table = verdicts(order[first : first + _PART], first, drawn)
        pq.write_table(table, folder / f"verdicts/part-{part:05d}.parquet")
    judge = {"engine": "drawn", "model": "drawn", "revision": "1", "fingerprint": "f" * 32}
    manifest = {"run": folder.name, "rows_in": rows, "rubrics": {}, "judge": judge, "gate": {}, "configuration": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def verdicts(records: Any, first: int, drawn: np.random.Generator) -> pa.Table:
    """Verdicts of some records, by their numbers; `first` is the place of the first in the run."""
    count = len(records)
    scores = {name: drawn.integers(1, 11, count).astype(float) for name in _SCORES}
    asked = drawn.random(count) < 0.02
    again = [dict.fromkeys(_SCORES, 7.0) if each else None for each in asked.tolist()]
    texts = records + (drawn.random(count) < 0.01)
    return pa.table(
        {
            "row_id": [f"crawl/part-{n // 1000:06d}.jsonl:{n}" for n in range(first, first + count)],
            "id": [f"article-{n:012d}" for n in records.tolist()],
            "record": [f"{n:032x}" for n in texts.tolist()],
            "genre": drawn.choice(["散文", "小说", "新诗", "学术摘要"], count),
            "decision": drawn.choice(_DECISIONS, count),
            "repeat_decision": pa.array(drawn.choice(_DECISIONS, count), mask=~asked),
            "repeat_scores": pa.array(again, pa.map_(pa.string(), pa.float64())),
            "coherence.fits": drawn.random(count) < 0.5,
            "genre.genre": drawn.choice(["诗", "小说"], count),
            **scores,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
