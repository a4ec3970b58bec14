"""S3, and what speaks its protocol, as users have it: one client per bucket and process.

    s3://bucket/key?endpoint_override=https://host:port&region=...      see PARAMETERS

Credentials never stand in a URI: it would be copied into manifests and messages. They come from where AWS's own tools
have them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE and the files in ~/.aws, a role of the machine).
So do endpoint and region where the URI names none; pyarrow's constructor would look for neither, and its `from_uri`
knows no time limits, no retries and no virtual addressing, which some providers want.
"""

import configparser
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from pyarrow import fs

from coigw_judge.errors import FixJob, nearest

PARAMETERS = ("endpoint_override", "region", "scheme", "force_virtual_addressing", "anonymous", "tls_ca_file_path")
"""What may follow the `?` of a URI."""

TRIES, QUICK_TRIES = 8, 2
"""How often a request is tried: about a minute in all for work that is under way, two seconds for a first look."""

_CONNECT_SECONDS, _REQUEST_SECONDS = 10, 60


def open_s3(uri: str, *, tries: int = TRIES) -> tuple[fs.FileSystem, str]:
    """The client for a URI, and the path within it: bucket and key. Raises FixJob for a URI that cannot be used."""
    rest, _, query = uri.partition("://")[2].partition("?")
    path = unquote(rest).rstrip("/")
    bucket = path.partition("/")[0]
    if not bucket:
        raise FixJob(f"{uri}: names no bucket; write s3://bucket/key")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    for name in settings:
        if name not in PARAMETERS:
            raise FixJob(
                f"s3://{rest}: {name} is no parameter of it{nearest(name, PARAMETERS)}; {', '.join(PARAMETERS)}"
            )
    return _client(bucket, query, tries, _environment()), path


def _environment() -> frozenset[tuple[str, str]]:
    return frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))


@lru_cache(maxsize=64)
def _client(bucket: str, query: str, tries: int, environment: frozenset[tuple[str, str]]) -> fs.FileSystem:
    """`environment` only tells clients apart that would be made differently."""
    given = dict(parse_qsl(query))
    profile = _profile()
    endpoint = given.get("endpoint_override") or (
        os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or profile.get("endpoint_url")
    )
    region = given.get("region") or (
        os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or profile.get("region")
    )
    if endpoint:
        # Checksums in a trailer came to AWS's clients in 2025; many a server that is not AWS refuses them.
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    elif not region:
        region = _region_of(bucket)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint,
        scheme=given.get("scheme"),
        anonymous=_is_true(given.get("anonymous")),
        force_virtual_addressing=_is_true(given.get("force_virtual_addressing")),
        tls_ca_file_path=given.get("tls_ca_file_path"),
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        allow_delayed_open=True,  # what is small is one PUT, not the three requests of a multipart upload
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=tries),
    )


def _is_true(value: str | None) -> bool:
    return value is not None and value.lower() in ("true", "1", "yes")


def _region_of(bucket: str) -> str | None:
    """The region in which AWS has a bucket; None where it does not say, and the first request will tell why."""
    try:
        return str(fs.resolve_s3_region(bucket))
    except (OSError, ValueError):
        return None


def _profile() -> dict[str, str]:
    """What AWS's config file says under the profile in use; its credentials pyarrow finds by itself."""
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    file = Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
    parser = configparser.RawConfigParser()
    try:
        parser.read(file, encoding="utf-8")
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        raise FixJob(f"{file}: cannot be read as AWS's config file: {' '.join(str(error).split())}") from error
    section = "default" if name == "default" else f"profile {name}"
    return dict(parser[section]) if parser.has_section(section) else {}
