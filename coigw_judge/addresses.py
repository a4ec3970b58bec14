"""What of a judge's servers stands in a job file: addresses and further keys, but never a secret.

A job file is copied into manifests, logs and version control. What is refused is never repeated in the message.
Not known here: whether anything listens there.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

_SECRET_NAME = re.compile(
    r"(?i)(^|[-_])(api[-_]?key|authorization|secret|password|passwd|credentials?|bearer"
    r"|(access|auth|refresh|session)[-_]?token)s?($|[-_])|^(token|key|apikey)$"
)
_SECRET_VALUE = re.compile(r"(?i)^(bearer\s+\S+|sk-[\w-]{16,})")
_OURS = {"model": "judge.model", "messages": "the rubric's prompt", "prompt": "the rubric's prompt"}


def check_addresses(urls: Sequence[str]) -> None:
    """Raise ValueError where one is no plain address of a server, or two are the same."""
    seen: set[str] = set()
    for url in urls:
        try:
            parts = urlsplit(url)
            port, plain = parts.port, parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            port, plain = 0, False
        if not plain or port == 0 or url != "".join(url.split()):
            raise ValueError("write an address as http://host:8000/v1")
        if "@" in parts.netloc:
            raise ValueError("an address must hold no user name or password; name the key's variable in api_key_env")
        if parts.query or parts.fragment:
            raise ValueError("an address must end with its path, mostly /v1; no ? and no #")
        if url.rstrip("/") in seen:
            raise ValueError(f"{url} is named twice")
        seen.add(url.rstrip("/"))


def check_extra_body(body: Mapping[str, Any]) -> None:
    """Raise ValueError where it holds what looks like a secret, or replaces what this package puts into a request."""
    for key, instead in _OURS.items():
        if key in body:
            raise ValueError(f"{key} is set by {instead}")
    secret = _secret(body)
    if secret:
        raise ValueError(f"{secret} looks like a key; keys come from the environment alone, see api_key_env")


def _secret(value: object, name: str = "") -> str:
    """The name under which something looks like a secret, or an empty string."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if _SECRET_NAME.search(str(key)) and isinstance(inner, str):
                return str(key)
            found = _secret(inner, str(key))
            if found:
                return found
    elif isinstance(value, list):
        return next((found for inner in value if (found := _secret(inner, name))), "")
    elif isinstance(value, str) and _SECRET_VALUE.search(value):
        return name
    return ""
