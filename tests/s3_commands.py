"""Runs commands one after another on one local Ray cluster, and tells of each its exit status, output and S3 requests.

`python s3_commands.py <url of s3_server.py> < commands.json`: a list of lists of arguments; the answer is JSON too.
"""

import contextlib
import io
import json
import sys
import time
import urllib.request

from coigw_judge.cli import main
from coigw_judge.pipeline.cluster import cluster


def told(url: str) -> list[list[str]]:
    with urllib.request.urlopen(f"{url}/told") as answer:
        return json.load(answer)


def run(url: str, arguments: list[str]) -> dict[str, object]:
    told(url)
    out, err, begun = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    seconds = round(time.monotonic() - begun, 1)
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "requests": told(url), "seconds": seconds}


if __name__ == "__main__":
    commands = json.load(sys.stdin)
    with cluster():
        print(json.dumps([run(sys.argv[1], arguments) for arguments in commands], ensure_ascii=False))
