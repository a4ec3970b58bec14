"""128-bit digests over length-prefixed parts: the only way this package names content.

xxh3 is used because it is fast and because nobody gains by a collision here: two texts that collide
share one judgement. Where a record's author could gain (the delimiters of template.py) a
cryptographic hash is used.
"""

import json
from collections.abc import Iterable

import xxhash


def digest(parts: Iterable[bytes | None]) -> bytes:
    """Hash parts to 16 bytes. Each part is length-prefixed; None (absent) differs from b''."""
    hasher = xxhash.xxh3_128()
    for part in parts:
        if part is None:
            hasher.update(b"\xff" * 8)
        else:
            hasher.update(len(part).to_bytes(8, "little"))
            hasher.update(part)
    return hasher.digest()


def fingerprint(value: object) -> str:
    """Hash any JSON-able value to 32 hex digits, independent of key order."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode())
