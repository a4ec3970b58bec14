"""A model's small files: where they lie, and which model they say it is."""

from pathlib import Path

import xxhash

from coigw_judge.errors import FixJudge
from coigw_judge.judges import embedded

_TOKENIZER_FILES = ("*.json", "*.jinja", "*.txt", "*.model")


def model_files(name: str, revision: str | None, key: str) -> tuple[Path, str]:
    """The folder of a local model, a hub model or `embedded`; and the hub commit, or a digest of a local folder.

    A hub model's tokenizer and configuration are fetched where they are missing, its weights are not. Raises FixJudge,
    which names `key`, the job's key that gave the name.
    """
    if name == "embedded":
        folder = embedded.build()
        return folder, _local_digest(folder)
    local = Path(name).expanduser()
    if local.is_dir():
        return local, _local_digest(local)
    if local.is_absolute() or name.startswith("."):
        raise FixJudge(f"{key}: {name}: no such folder; give a local model, a hub name, or `embedded`")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise FixJudge(
            f"{key}: {name}: to fetch it needs huggingface_hub; install coigw-judge[tokenizer], or give a local folder"
        ) from error
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_TOKENIZER_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FixJudge(
            f"{key}: {name} is no local folder and could not be had from the hub ({reason}); "
            "check the name, or download it first"
        ) from error
    return folder, folder.name


def _local_digest(folder: Path) -> str:
    """A digest of configuration, tokenizer and weight headers: of what the model is, not of where it lies."""
    hasher = xxhash.xxh3_128()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".txt", ".model"):
            hasher.update(path.name.encode() + path.read_bytes())
        elif path.suffix == ".safetensors":
            with path.open("rb") as file:
                header = file.read(int.from_bytes(file.read(8), "little"))
            hasher.update(path.name.encode() + header + str(path.stat().st_size).encode())
    return hasher.hexdigest()
