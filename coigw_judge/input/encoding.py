"""Encodings of text files: which may be named, which a file shows by its mark, which one a foreign line seems to be.

Reading is strict and follows the job's word or the file's byte order mark. A guess is never used to read: it only
goes into the reason that a person sees, so that the right word can be put into the job.
"""

import codecs
from encodings.aliases import aliases
from functools import cache

from coigw_judge.errors import nearest

UTF_8 = "utf-8"
_MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks; that of UTF-32 begins with that of UTF-16, so it stands first."""

_ZEROS = {
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
}
"""Which of a file's first four bytes are zero."""

_WIDE = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}
"""What is meant by the name alone where the file bears no mark."""

_NO_TEXT = ("_codec", "rot_13")
_SAMPLE = 2000


def checked(name: str) -> str:
    """The codec's own name. Raises ValueError for one that is unknown, or in which a line's end is no line's end."""
    probe = '{"a": "\\n"}\n'
    try:
        own = codecs.lookup(name).name
        plain = probe.encode(name) == probe.encode("ascii") and probe.encode("ascii").decode(name) == probe
    except UnicodeError:
        plain = False
    except (LookupError, ValueError) as error:  # ValueError: NUL in the name
        text = {name for alias, of in aliases.items() if not of.endswith(_NO_TEXT) for name in (alias, of)}
        known = sorted({*text, *(alias.replace("_", "-") for alias in text)})
        raise ValueError(f"{name!r} is no text encoding{nearest(name, known)}; for instance gb18030, big5") from error
    if own in (UTF_8, "utf-8-sig"):
        return UTF_8
    own = _WIDE.get(own, own)
    if not plain and width(own) == 1:
        raise ValueError(f"{name!r} cannot be read line by line; convert the files to UTF-8")
    return own


def width(encoding: str) -> int:
    """How many bytes a line's end takes."""
    return {"utf-16": 2, "utf-32": 4}.get(encoding[:6], 1)


def marked(head: bytes) -> tuple[str, int] | None:
    """The encoding that a file's first bytes show, and how many bytes its mark takes; None where they show none.

    Rows begin with ASCII (`{"`, a column's name), so the place of the zeros shows UTF-16 also without its mark.
    """
    found = next(((encoding, len(mark)) for mark, encoding in _MARKS if head.startswith(mark)), None)
    zeros = tuple(not byte for byte in head[:4])
    return found or ((_ZEROS[zeros], 0) if zeros in _ZEROS else None)


def hint(raw: bytes) -> str:
    """Which encoding the bytes seem to be, and what to do about it, in brackets; empty where nothing seems right."""
    found = _likely(raw)
    return f" (it reads as {found.upper()}; set input.encoding: {found})" if found else ""


def _likely(raw: bytes) -> str | None:
    if b"\0" in raw:
        letters = {name: _wide_letters(raw, name) for name in ("utf-16-le", "utf-16-be")}
        widest = max(letters, key=lambda name: letters[name])
        return widest if letters[widest] else None
    sample = raw[: 4 * _SAMPLE].decode(UTF_8, "replace")
    broken = sample.count("\ufffd")
    if sum("\u0800" <= char != "\ufffd" for char in sample) >= broken:
        return None  # UTF-8 that is damaged or torn
    shares = {name: _share(raw, name) for name in ("gb18030", "big5")}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] > 0.7:
        return best
    return "cp1252" if 8 * broken < len(sample) and _reads(raw, "cp1252") and not set(raw) & {0xFE, 0xFF} else None


def _wide_letters(raw: bytes, name: str) -> int:
    """How many ASCII signs the bytes, cut at some line's end, have as UTF-16; 0 where that reads like noise."""
    start = 1 if name.endswith("le") and raw[:1] == b"\0" else 0  # the other half of the line's end before
    sample = raw[start : start + 2 * _SAMPLE]
    text = sample[: len(sample) // 2 * 2].decode(name, "replace")
    ascii_signs = sum(" " <= c <= "~" or c in "\r\n\t" for c in text)
    chinese = sum("\u3000" <= c <= "\u9fff" or "\uff00" <= c <= "\uffef" for c in text)
    return ascii_signs if ascii_signs + chinese > 0.9 * len(text) else 0


def _reads(raw: bytes, name: str) -> bool:
    try:
        raw.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _share(raw: bytes, name: str) -> float:
    """The share of common characters in what the bytes would be; 0 where they are not of that encoding."""
    try:
        text = raw.decode(name)
    except UnicodeDecodeError:
        return 0.0
    foreign = [char for char in text if char > "\x7f"][:_SAMPLE]
    common = _common(name)
    return sum(char in common for char in foreign) / len(foreign) if foreign else 0.0


@cache
def _common(name: str) -> frozenset[str]:
    """Characters that an encoding sets apart as the common ones, and its punctuation."""
    leads = (range(0xA1, 0xA4), range(0xB0, 0xD8)) if name == "gb18030" else (range(0xA1, 0xA2), range(0xA4, 0xC7))
    trails = [*range(0xA1, 0xFF)] if name == "gb18030" else [*range(0x40, 0x7F), *range(0xA1, 0xFF)]
    pairs = (bytes((lead, trail)) for part in leads for lead in part for trail in trails)
    return frozenset("".join(pair.decode(name, "ignore") for pair in pairs))
