"""Which earlier run a rescoring is set against: the newest complete one in the same `out` over the same input.

The same input means the same paths in the same order, globs as they were written: more files may match them by now,
and `diff` joins the rows that both runs have.
"""

import re
from pathlib import Path, PurePosixPath

from pyarrow import fs

from coigw_judge.errors import FixStore
from coigw_judge.job.job import LoadedJob
from coigw_judge.run_folder import manifest as manifests
from coigw_judge.storage.paths import open_filesystem, resolve

_RUN_NAME = re.compile(r".*-(\d{8}-\d{6})-[0-9a-f]{4}")
"""runs.begin names them: job, moment in UTC, chance."""


def run_over_same_input(job: LoadedJob) -> str:
    """The run folder. Raises FixStore where `out` has none."""
    filesystem, inner = open_filesystem(job.out)
    infos = filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True))
    names = (PurePosixPath(info.path).name for info in infos if info.type == fs.FileType.Directory)
    began = {name: match[1] for name in names if (match := _RUN_NAME.fullmatch(name))}
    wanted = _paths(job.config.input.paths, job.base)
    for name in sorted(began, key=lambda name: began[name], reverse=True):
        folder = f"{job.out.rstrip('/')}/{name}"
        try:
            manifest = manifests.read(folder)
        except FixStore:  # interrupted before its manifest was written, or somebody's folder with such a name
            continue
        if manifest.complete and _input_of(manifest) == wanted:
            return folder
    raise FixStore(
        f"{job.out}: holds no complete run over {', '.join(wanted)}; name one with --against RUN, or run first"
    )


def _input_of(manifest: manifests.Manifest) -> list[str]:
    return _paths(manifest.configuration["input"]["paths"], Path(manifest.job_file).parent)


def _paths(given: list[str], base: Path) -> list[str]:
    return [resolve(path, base) for path in given]
