"""The scripts of bench/ are run by hand and seldom; here at least each begins, with the package as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
SCRIPTS = sorted(path for path in BENCH.rglob("*.py") if "ArgumentParser(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_bench_begins(script: Path) -> None:
    asked = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=240)
    assert asked.returncode == 0 and "usage:" in asked.stdout, asked.stderr[-2000:]


def test_a_steps_peak_memory_is_not_that_of_who_started_it() -> None:
    step = "from watch import peak_bytes; print(peak_bytes())"
    large = f"import subprocess, sys; held = b'x' * 2**28; subprocess.run([sys.executable, '-c', {step!r}], check=True)"
    found = subprocess.run([sys.executable, "-c", large], cwd=BENCH, capture_output=True, text=True, timeout=240)
    assert 2**20 < int(found.stdout) < 2**28, found.stderr[-2000:]
