"""manifest.json: what was written before reads and writes the same, and other versions' keys break no reader."""

import json
from pathlib import Path
from typing import Any

import pytest

from coigw_judge.decide.decisions import DECISIONS
from coigw_judge.errors import FixStore
from coigw_judge.judges.protocol import Identity
from coigw_judge.run.summary import summary
from coigw_judge.run_folder import manifest
from coigw_judge.run_folder.manifest import Manifest

BEFORE = Path(__file__).parents[1] / "store" / "before_the_rooms" / "run_folder"
WRITTEN = (BEFORE / "manifest.json").read_text(encoding="utf-8")


SINCE = ("bound_gate",)
"""Keys that came later; a manifest that has none of them is written without."""


def test_a_manifest_written_before_is_written_the_same_byte_for_byte(tmp_path: Path) -> None:
    found = manifest.read(str(BEFORE))
    manifest.write(str(tmp_path), found)
    assert (tmp_path / "manifest.json").read_text(encoding="utf-8") == WRITTEN
    assert (found.asks.made, found.expected.missing["crosses"], found.gate_reasons["each_only"]) == (36, 16, 3)
    assert found.judge == Identity(**json.loads(WRITTEN)["judge"]) and list(found.decisions) == list(DECISIONS)


def nested(model: type[Any]) -> dict[str, type[Any]]:
    """The models inside a model, by field."""
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and hasattr(kind, "model_fields")}


def test_every_key_of_a_manifest_is_a_field_in_its_order() -> None:
    written = json.loads(WRITTEN)
    assert [name for name in Manifest.model_fields if name not in SINCE] == list(written)
    for name, kind in nested(Manifest).items():
        assert list(kind.model_fields) == list(written[name]), name
    assert nested(Manifest).keys() >= {"asks", "tokens", "genres", "borderline", "expected", "cache", "repeated"}


def test_keys_of_another_version_are_kept_and_break_no_reader(tmp_path: Path) -> None:
    raw = json.loads(WRITTEN)
    raw |= {"of_the_future": {"a": [1]}, "configuration": {"of_the_future": 1}}
    for part in ("asks", "tokens", "estimate", "cache", "genres"):
        raw[part]["of_the_future"] = 1
    raw["decisions"]["postponed"] = 0
    raw["gate_reasons"]["never_heard_of"] = 2
    (tmp_path / "manifest.json").write_text(json.dumps(raw), encoding="utf-8")
    found = manifest.read(str(tmp_path))
    assert json.loads(manifest.as_text(found)) == raw
    assert found.decisions["kept"] == 1 and found.gate_reasons["each"] == 7
    assert summary(found, "runs/there").startswith("before: 11 rows")


def test_what_an_older_version_did_not_write_has_its_default_and_is_not_made_up(tmp_path: Path) -> None:
    raw = json.loads(WRITTEN)
    old = {name: raw[name] for name in ("run", "job", "rows_in", "decisions", "judge", "rubrics", "gate")}
    (tmp_path / "manifest.json").write_text(json.dumps(old), encoding="utf-8")
    found = manifest.read(str(tmp_path))
    assert found.asks.made == 0 and found.repeat is None and found.complete and found.order is None
    assert json.loads(manifest.as_text(found)) == old


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"run": "r", "judge": 3}', '{"run": "r", "asks": {"made": "x"}}']
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(FixStore, match=r"is no run folder \(no readable manifest.json: .*give the folder"):
        manifest.read(str(tmp_path))
