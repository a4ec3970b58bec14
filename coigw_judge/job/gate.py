"""The gate as a job file has it, and how it is bound to the job's rubrics.

A job names whole rubrics or single items (`over: [answer]`, `each: {answer: 8, query.quality: 9}`). Bound, a gate names
every dimension and check that it looks at, and knows the highest score of each. Manifests keep the bound gate.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from coigw_judge.decide.gate import Gate, Use
from coigw_judge.errors import FixJob, nearest
from coigw_judge.judges.config import Number, Strict
from coigw_judge.prompting.rubric import Rubric


class ReviewConfig(Strict):
    """How far below the gate a record still goes to people."""

    total: Number = Field(default=0, ge=0)
    each: Number = Field(default=0, ge=0)


class GateConfig(Strict):
    """Thresholds and checks."""

    over: list[str] | None = Field(default=None, description="rubrics or rubric.dimension; default: all dimensions")
    total: Number | None = Field(default=None, description="the least sum over these dimensions")
    each: Number | dict[str, Number] | None = Field(default=None, description="the least of each, or per dimension")
    require: list[str] = Field(default=[], description="checks that must be true: a rubric's all, or rubric.check")
    review: ReviewConfig = ReviewConfig()
    use: Use = Field(default="sampled", description="sampled scores, or expected ones (docs/expected.md)")


def bind(config: GateConfig, tops: Mapping[str, float], checks: Sequence[str]) -> Gate:
    """The gate over these dimensions, each with its highest score, and these checks. Names of none are left out."""
    over = spelt_out(tops if config.over is None else config.over, tops)
    each = config.each
    if isinstance(each, dict):  # what names a dimension goes before what names its whole rubric
        each = {one: each.get(one, least) for name, least in each.items() for one in spelt_out([name], over)}
    return Gate(
        total=config.total,
        each=each,
        over=over,
        require=spelt_out(config.require, checks),
        review_total=config.review.total,
        review_each=config.review.each,
        tops={name: tops[name] for name in over},
        use=config.use,
    )


def bound_gate(config: GateConfig, rubrics: Sequence[Rubric], path: Path, several_samples: bool) -> Gate:
    """A job's gate over its rubrics. Raises FixJob where it names what is not asked, or cannot be passed.

    `several_samples`: whether it is to decide on more than one sample of a record.
    """
    tops = {f"{r.name}.{d.key}": r.scale.max for r in rubrics for d in r.dimensions}
    checks = [f"{r.name}.{c.key}" for r in rubrics for c in r.checks]
    _check_names(config.over or (), tops, "gate.over", path)
    _check_names(config.require, checks, "gate.require", path)
    gate = bind(config, tops, checks)
    if not gate.over and (config.total is not None or (config.each is not None and not gate.require)):
        raise FixJob(f"{path}: gate: total and each need dimensions, and the job's rubrics have none; use require")
    if isinstance(config.each, dict):
        _check_names(config.each, gate.over or (), "gate.each", path)
    if several_samples and not gate.over:
        raise FixJob(f"{path}: samples: only scores come to a median or mean, and the job's rubrics have no dimension")
    best = gate.decide(gate.tops, dict.fromkeys(gate.require, True))
    if best.decision != "kept":
        raise FixJob(f"{path}: gate: no record can pass it: with the highest scores, {best.reasons[0].text}; lower it")
    return gate


def spelt_out(names: Iterable[str], items: Iterable[str]) -> tuple[str, ...]:
    """The items that `names` mean, each once: a rubric's name means all of its items."""
    named = (item for name in names for item in items if item == name or item.startswith(f"{name}."))
    return tuple(dict.fromkeys(named))


def _check_names(names: Iterable[str], items: Iterable[str], key: str, path: Path) -> None:
    for name in names:
        if not spelt_out([name], items):
            rubrics = {item.partition(".")[0] for item in items}
            hint, all_known = nearest(name, [*items, *rubrics]), ", ".join(items) or "none"
            raise FixJob(f"{path}: {key}: {name} is not asked by this job{hint}; known: {all_known}")
