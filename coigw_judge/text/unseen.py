"""Characters that cannot be written as UTF-8."""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


_REPLACED = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def encodable(text: str) -> str:
    """The text with lone surrogates as U+FFFD, so that every file format can hold it."""
    return text.translate(_REPLACED) if _SURROGATE.search(text) else text
