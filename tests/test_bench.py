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


def test_a_trees_processor_time_is_told_apart_by_process() -> None:
    burn = "import time; until = time.process_time() + {}\nwhile time.process_time() < until: pass"
    tree = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn.format(2)!r}])\n{burn.format(0.7)}\n"
    watching = f"""
import sys, time, psutil
from watch import Watch
watch, first = Watch(), time.time()
watch.until_exit(psutil.Popen([sys.executable, "-c", {tree + "import time; time.sleep(4)"!r}]))
own, beside, others = watch.cores(first, time.time())
seconds = time.time() - first
print(own * seconds, beside * seconds)
"""
    found = subprocess.run([sys.executable, "-c", watching], cwd=BENCH, capture_output=True, text=True, timeout=240)
    assert found.returncode == 0, found.stderr[-2000:]
    own, beside = map(float, found.stdout.split())
    assert own == pytest.approx(2.7, abs=0.6) and beside == pytest.approx(0.7, abs=0.3)
