"""Sentences of ours, folded."""

import pytest

from coigw_judge.text.terminal import WIDTH, cells, filled, sentence


@pytest.mark.parametrize("width", range(40, 110, 7))
def test_what_is_to_be_copied_stays_whole(width):
    lines = sentence("没有分数时再问一遍：" * 4 + "give `samples: {repeat: 0.02}`, and 85.66% of 1,300 rows", width)
    assert all(cells(line) <= width for line in lines)
    assert lines[0].startswith("  没") and all(line.startswith("    ") for line in lines[1:])
    for whole in ("`samples: {repeat: 0.02}`,", "85.66%", "1,300"):
        assert sum(whole in line for line in lines) == 1


def test_a_quote_without_its_end_and_one_longer_than_a_line():
    assert sentence("a ` b") == ["  a ` b"]
    lines = sentence(f"run `{'x' * 150}` now")
    assert max(map(cells, lines)) <= WIDTH and "".join(line.strip() for line in lines).count("x") == 150


def test_pieces_stay_whole_and_blanks_at_folds_go():
    assert filled(["a b", " ", "c d", " ", "e"], 12, "") == ["a b c d e"]
    assert filled(["aaaa bb", " ", "cc dddd", " ", "e"], 12, "") == ["aaaa bb", "  cc dddd e"]
