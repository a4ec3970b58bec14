"""Characters that nobody sees."""

import re
import unicodedata

import pytest

from coigw_judge.text.unseen import ACTING, INKLESS, NO_GLYPH, encodable, replaced

ALL = [chr(code) for code in range(0x110000)]


@pytest.mark.parametrize("categories", [ACTING, ACTING | NO_GLYPH])
def test_every_character_of_a_category_is_replaced_and_no_other(categories):
    found = replaced("".join(ALL), lambda _: "\x00", categories, kept="\n")
    wanted = [c == "\n" or unicodedata.category(c) not in categories for c in ALL]
    assert [after == before for before, after in zip(ALL, found, strict=True)] == [
        same or char == "\x00" for char, same in zip(ALL, wanted, strict=True)
    ]


def test_what_leaves_no_ink_is_no_letter_mark_or_blank():
    pattern = re.compile(f"[{INKLESS}]")
    inkless = {unicodedata.category(char) for char in ALL if pattern.match(char)}
    assert inkless <= {"Cc", "Cf", "Cn", "Mn", "Lo"}, "letters among them are Hangul's fillers, marks are selectors"
    assert not [char for char in "\t\n\r 　的á" if char != "\u0301" and pattern.match(char)]


def test_half_a_character_becomes_the_one_that_stands_for_it():
    assert encodable("字\ud83d字\udc00") == "字\ufffd字\ufffd"
    assert encodable("字😀") == "字😀"
