"""Re-gating: what `select` costs over rows that have been judged, beside a plain pyarrow scan of the same files.

    .venv/bin/python bench/regate.py                          # 10,000, 100,000 and a million rows, three rubrics each
    .venv/bin/python bench/regate.py --rows 10000 100000      # some sizes only

`select` and `select --sweep` run through the command line in processes of their own, start-up included; peak memory is
that of the whole process tree. Prints a table, and as its last line one JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from turns import environment
from watch import Watch

HERE = Path(__file__).parent
GRID = "total=44:56,each=6:9"
_MIB = 2**20


def main() -> int:
    """Measure every size; print the table and the JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N")
    parser.add_argument("--keep", metavar="DIR", help="keep inputs, stores and runs there (default: thrown away)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coigw-bench-") as name:
        folder = Path(options.keep or name).absolute()
        sizes = [measure(folder / f"{rows}", rows) for rows in options.rows]
    print(table(sizes))
    print(json.dumps({"sizes": sizes, "grid": GRID}))
    return 0


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """One size: make it, then scan, select and sweep it, each in a process of its own."""
    print(f"bench: {rows:,} rows", file=sys.stderr, flush=True)
    if not folder.exists():
        run([sys.executable, str(HERE / "judged.py"), "make", str(folder), str(rows)])
    figures = folder / "scan.json"
    cli, job = [sys.executable, "-m", "coigw_judge.cli"], str(folder / "job.yaml")
    plain = run([sys.executable, str(HERE / "judged.py"), "scan", str(folder / "facts"), str(figures)])
    select = run([*cli, "select", job])
    sweep = run([*cli, "select", job, "--sweep", GRID])
    manifest = json.loads(max((folder / "runs").glob("*/manifest.json"), key=os.path.getmtime).read_text())
    assert manifest["complete"] and manifest["rows_in"] == rows == sum(manifest["decisions"].values())
    stored = sum(path.stat().st_size for path in (folder / "facts").rglob("*.parquet"))
    return {
        "rows": rows,
        "facts": manifest["asks"]["from_store"],
        "stored_bytes": stored,
        "plain_scan_s": json.loads(figures.read_text())["seconds"],
        "plain_scan_peak_bytes": plain["peak_bytes"],
        "select_s": manifest["seconds"]["select"],
        "select_process_s": select["seconds"],
        "select_peak_bytes": select["peak_bytes"],
        "sweep_process_s": sweep["seconds"],
        "sweep_peak_bytes": sweep["peak_bytes"],
        "decisions": {name: n for name, n in manifest["decisions"].items() if n},
    }


def run(command: list[str]) -> dict[str, Any]:
    """Run a command to its end; its seconds, and the peak memory of its process tree."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = psutil.Popen(command, stdout=log, stderr=log, env=environment())
        watch = Watch()
        watch.until_exit(process)
        log.seek(0)
        if process.returncode:
            raise SystemExit(f"{log.read().decode()}\nbench: {' '.join(command)} failed with {process.returncode}")
    return {"seconds": time.monotonic() - started, "peak_bytes": watch.peak_bytes}


def table(sizes: list[dict[str, Any]]) -> str:
    """For people."""
    titles = ("rows", "facts", "plain scan s", "select s", "select s per million", "peak MiB", "sweep s", "peak MiB")
    lines = [f"| {' | '.join(titles)} |", "|" + " ---: |" * len(titles)]
    for size in sizes:
        lines.append(
            f"| {size['rows']:,} | {size['facts']:,} | {size['plain_scan_s']:.2f} | {size['select_s']:.1f} "
            f"| {size['select_s'] / size['rows'] * 1e6:.1f} | {size['select_peak_bytes'] / _MIB:,.0f} "
            f"| {size['sweep_process_s']:.1f} | {size['sweep_peak_bytes'] / _MIB:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
