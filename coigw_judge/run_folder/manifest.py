"""manifest.json: written whole or not at all, and read again."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from coigw_judge.errors import FixStore
from coigw_judge.job.job import Job
from coigw_judge.prompting.rubric import explain
from coigw_judge.storage.paths import check_reach, open_filesystem, write_atomic

MEANINGLESS = "the embedded judge is untrained: its scores are MEANINGLESS and only show that the machinery works"


def write(folder: str, manifest: Mapping[str, Any]) -> None:
    """Write manifest.json, whole or not at all."""
    filesystem, inner = open_filesystem(folder)
    write_atomic(filesystem, f"{inner}/manifest.json", json.dumps(manifest, ensure_ascii=False, indent=2).encode())


def read(folder: str) -> dict[str, Any]:
    """A run's manifest. Raises FixStore where the folder is no run."""
    check_reach(folder, "RUN")
    filesystem, inner = open_filesystem(folder)
    try:
        with filesystem.open_input_stream(f"{inner}/manifest.json") as stream:
            found: dict[str, Any] = json.loads(stream.read())
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise FixStore(
            f"{folder}: is no run folder (no readable manifest.json); give the folder that a run printed"
        ) from error
    return found


def configuration(manifest: Mapping[str, Any]) -> Job:
    """The job that a run was made by. Raises FixStore where another version wrote what this one does not read."""
    try:
        return Job.model_validate(manifest.get("configuration"))
    except ValidationError as error:
        raise FixStore(
            f"run {manifest.get('run')}: manifest.json: configuration: {explain(error, Job)}; another version of "
            "coigw-judge wrote it: read it with that one, or make the run folder anew with `coigw-judge select`"
        ) from error
