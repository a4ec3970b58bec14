"""The gate that a run decided by, bound to its rubrics."""

from pydantic import TypeAdapter, ValidationError

from coigw_judge.decide.gate import Gate, rubric_of
from coigw_judge.errors import FixStore
from coigw_judge.job.gate import GateConfig, bind
from coigw_judge.run_folder.folder import Run
from coigw_judge.run_folder.verdicts import known_rubrics

_BOUND = TypeAdapter(Gate)

_USUAL_TOP = 10.0
"""The highest score of a rubric whose file is gone."""


def gate_of(run: Run) -> Gate:
    """The gate of a run. Raises FixStore where another version wrote what this one does not read."""
    manifest = run.manifest
    try:
        if manifest.bound_gate is not None:
            return _BOUND.validate_python(manifest.bound_gate)
        return _bound_anew(run, GateConfig.model_validate(manifest.gate))
    except ValidationError as error:
        raise FixStore(
            f"run {manifest.run}: manifest.json: the gate is not as this version writes it; another version of "
            "coigw-judge wrote it: read it with that one, or make the run folder anew with `coigw-judge select`"
        ) from error


def _bound_anew(run: Run, config: GateConfig) -> Gate:
    """For runs whose manifests do not have the bound gate: from the job's gate and the columns of the verdicts."""
    asked = list(run.manifest.rubrics)[: len(run.manifest.configuration["rubrics"])]  # then come those of `then`
    scales = {rubric.name: rubric.scale.max for rubric in known_rubrics(run)[0]}
    dimensions = [name for name in run.items("score") if rubric_of(name) in asked]
    return bind(config, {name: scales.get(rubric_of(name), _USUAL_TOP) for name in dimensions}, run.items("check"))
