"""Copies over a whole crawl: what linking near duplicates takes at up to ten million rows.

    .venv/bin/python bench/links.py                   # 1 and 10 million rows
    .venv/bin/python bench/links.py --rows 100000

Keys are drawn as a scan with `near_duplicate: flag` would write them: an answer's digest and the digests of 14 bands
for every row; one row in twenty is nearly like an earlier one and shares 5 of its bands. What is measured is all that
follows the reading of texts (copies.py): keys sorted into files, each bucket's links found, clusters made; every step
in a process of its own, so peak memory is that step's. bench/screens.py --near has the sketches themselves.
Prints a table, and as its last line one JSON object.
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

from coigw_judge.scan import copies
from coigw_judge.scan import rows as scanning
from coigw_judge.screens.config import Screen
from coigw_judge.screens.minhash import BANDS
from coigw_judge.storage import hash_ranges
from coigw_judge.store.parts import Store

_MIB = 2**20
_ROWS_PER_SPLIT = 50_000
_SHARED = 5
_NEAR = 20
Figures = dict[str, Any]


def main() -> int:
    """Run all sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000], metavar="N")
    options = parser.parse_args()
    found = []
    print("| rows | keys | sort s (MiB) | find s (MiB) | cluster s (MiB) | rows linked |", flush=True)
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="coigw-links-") as name:
            found.append(measure(name, rows))
        each = found[-1]
        cells = [f"{each[f'{step}_s']:.0f} ({each[f'{step}_peak_bytes'] / _MIB:,.0f})" for step in _STEPS]
        print(f"| {rows:,} | {each['keys']:,} | {' | '.join(cells)} | {each['linked']:,} |", flush=True)
    print(json.dumps({"sizes": found}))
    return 0


def measure(root: str, rows: int) -> Figures:
    """All steps over so many rows. Fails where the rows that were linked are not those that were made alike."""
    figures: Figures = {"rows": rows, **alone(draw, root, rows)}
    for name, step in _STEPS.items():
        figures |= {f"{name}_{key}": value for key, value in alone(step, root, figures["splits"]).items()}
    figures["linked"] = figures["cluster_linked"]
    assert figures["linked"] == rows // _NEAR + figures["origins"], figures
    return figures


def draw(root: str, rows: int) -> Figures:
    """Write the keys of every split. A near copy shares its bands with a row of the split before, or of its own."""
    store, chance = Store(root), np.random.default_rng(1)
    Path(root, "work").mkdir(parents=True)
    before: np.ndarray[Any, Any] | None = None
    keys, splits, origins = 0, -(-rows // _ROWS_PER_SPLIT), 0
    for split in range(splits):
        count = min(_ROWS_PER_SPLIT, rows - split * _ROWS_PER_SPLIT)
        digests = chance.integers(0, 256, (count, 1 + BANDS, 16), np.uint8)
        copies = np.flatnonzero((split * _ROWS_PER_SPLIT + np.arange(count)) % _NEAR == _NEAR - 1)
        source = digests if before is None else before
        of = copies - 1 if before is None else copies % len(source) // _NEAR * _NEAR
        digests[copies, 1 : 1 + _SHARED] = source[of, 1 : 1 + _SHARED]
        origins += len(np.unique(of))
        before = digests
        row = np.repeat((split << 40) | np.arange(count), 1 + BANDS)
        columns = {
            "key": pa.FixedSizeBinaryArray.from_buffers(
                hash_ranges.DIGEST, len(row), [None, pa.py_buffer(digests.tobytes())]
            ),
            "kind": np.tile(np.r_[copies.ANSWER, np.full(BANDS, copies.BAND)].astype(np.int8), count),
            "row": row,
            "position": row,
            "published": pa.nulls(len(row), pa.date32()),
            "same": row,
        }
        pq.write_table(
            pa.table([columns[name] for name in copies.KEYS.names], schema=copies.KEYS),
            f"{store.root}/work/keys-{split:05d}.parquet",
            compression="zstd",
        )
        keys += len(row)
    return {"keys": keys, "splits": splits, "origins": origins}


def _groups(splits: int) -> list[range]:
    return scanning.file_groups([_ROWS_PER_SPLIT * (1 + BANDS)] * splits, copies.KEYS_PER_FILE)


def sort(root: str, splits: int) -> Figures:
    """Every group of splits into a file in order."""
    for number, group in enumerate(_groups(splits)):
        copies.gather(Store(root), f"{root}/work", number, group)
    return {}


def find(root: str, splits: int) -> Figures:
    """Every bucket's links."""
    buckets, files = max(1, -(-splits * _ROWS_PER_SPLIT * (1 + BANDS) // copies.KEYS_PER_BUCKET)), len(_groups(splits))
    for bucket in range(buckets):
        copies.find(Store(root), f"{root}/work", bucket, files, hash_ranges.span(bucket, buckets))
    return {}


def cluster(root: str, splits: int) -> Figures:
    """All links at once."""
    return {"linked": copies.resolve(Store(root), f"{root}/work", Screen(near_duplicate="flag"))}


_STEPS = {"sort": sort, "find": find, "cluster": cluster}

if __name__ == "__main__":
    sys.exit(main())
