"""An S3 server for the tests: moto's, which checks signatures, users and rights as AWS does, and counts requests.

`python s3_server.py` serves on a free port until its standard input is closed; it prints one line of JSON: `url`, `key`,
`secret`. A GET of <url>/told gives the requests since the last one, as lists of method, path with query, Range header and
status. After <url>/refuse?words requests whose path has these words get status 400, until <url>/refuse is asked for.
"""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import boto3
from moto import settings
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "crawl"
Start = Callable[..., Any]


class Counted:
    """The server's application, with a list of what it was asked."""

    def __init__(self) -> None:
        self._inner = DomainDispatcherApplication(create_backend_app)
        self._seen: list[tuple[str, str, str, int]] = []
        self._refused = ""

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"] + ("?" + environ["QUERY_STRING"] if environ.get("QUERY_STRING") else "")
        if path == "/told":
            told, self._seen = self._seen, []
            body = json.dumps(told).encode()
            start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        if environ["PATH_INFO"] == "/refuse":
            self._refused = environ.get("QUERY_STRING", "")
            start("200 OK", [("Content-Length", "0")])
            return [b""]

        def started(status: str, *more: Any) -> Any:
            seen = (environ["REQUEST_METHOD"], path, environ.get("HTTP_RANGE", ""), int(status.split()[0]))
            self._seen.append(seen)
            return start(status, *more)

        if self._refused and self._refused in path:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            started("400 Bad Request", [("Content-Length", "0")])
            return [b""]
        return self._inner(environ, started)


class Silent(WSGIRequestHandler):
    """Prints no line per request, and keeps connections, as S3 does."""

    protocol_version = "HTTP/1.1"

    def log(self, kind: str, message: str, *args: Any) -> None:
        pass


def serve() -> None:
    """Serve until standard input ends."""
    import threading

    server = make_server("127.0.0.1", 0, Counted(), threaded=True, request_handler=Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    # Until the first user is there, nobody's rights are checked.
    before = {"endpoint_url": url, "region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    boto3.client("s3", **before).create_bucket(Bucket=BUCKET)
    iam = boto3.client("iam", **before)
    iam.create_user(UserName="judge")
    allowed = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    iam.put_user_policy(UserName="judge", PolicyName="all", PolicyDocument=policy)
    made = iam.create_access_key(UserName="judge")["AccessKey"]
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    print(json.dumps({"url": url, "key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve()
