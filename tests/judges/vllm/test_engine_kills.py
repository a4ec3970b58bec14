"""Kills of the real engine, of its actor and of the command line: no row is lost, and no fact read twice."""

import chaos
import pytest

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_kills_of_a_real_engine_lose_no_row(tmp_path):
    figures = chaos.real(tmp_path, ("engine", "actor", "driver"))
    print(figures.table())
    assert figures.kills.total() == 3
