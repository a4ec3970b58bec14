"""Runs commands one after another on one local Ray cluster, and tells of each its exit status, output and S3 requests.

`python s3_commands.py <url of s3_server.py> < commands.json`: a list of lists of arguments; the answer is JSON too. An
argument `@2` stands for the run folder that the third command printed.
"""

import contextlib
import io
import json
import re
import sys
import time
import urllib.request

from coigw_judge.cli.main import main
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


def folder(done: list[dict[str, object]], name: str) -> str:
    said = done[int(name[1:])]
    found = re.search(r"run folder: (.+)", str(said["out"]))
    assert found, said
    return found[1]


if __name__ == "__main__":
    commands = json.load(sys.stdin)
    done: list[dict[str, object]] = []
    with cluster():
        for command in commands:
            done.append(run(sys.argv[1], [folder(done, each) if each[0] == "@" else each for each in command]))
    print(json.dumps(done, ensure_ascii=False))
