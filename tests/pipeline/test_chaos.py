"""What kills may cost, and what they may not: facts, rows, decisions."""

import random
import sys

import chaos
import psutil
import pytest
from nodes import kill_all, living, wait_for

LEAST_KILLS = 8
"""Two of every kind; bench/chaos.py makes as many as it is told."""


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_kills_at_random_moments_lose_nothing_and_cost_little(tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    figures = chaos.scripted(tmp_path, LEAST_KILLS, seed)
    print(figures.table())
    assert figures.kills.total() >= LEAST_KILLS and set(figures.kills) == set(chaos.KINDS)
    assert 0 < figures.again <= figures.bound


def test_an_engine_is_found_whatever_it_calls_itself():
    code = "import multiprocessing as m, time; m.get_context('spawn').Process(target=time.sleep, args=(60,)).start()"
    actor = psutil.Popen([sys.executable, "-c", code, "JudgeActor"], start_new_session=True)
    try:
        wait_for(lambda: len(living(actor)) == 3, "it runs, and Python's own resource tracker beside it", 60)
        (engine,) = chaos.engines([actor])
        assert "VLLM" not in " ".join(engine.cmdline())
    finally:
        kill_all(living(actor))
