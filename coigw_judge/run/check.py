"""`coigw-judge check`: what can be wrong in rubrics, prompts, a job and its judge, said before it costs anything."""

import asyncio
import secrets

from coigw_judge.decide.gate import Gate
from coigw_judge.errors import FixRubric
from coigw_judge.fill.self_test import self_test, specimen_ask
from coigw_judge.input.listing import list_input_files, stray_files
from coigw_judge.job.fingerprints import plan_for_fill
from coigw_judge.job.job import LoadedJob
from coigw_judge.job.recipe import Recipe, make_recipe
from coigw_judge.judges.engines import engine_of, open_judge
from coigw_judge.judges.protocol import Judge
from coigw_judge.prompting.rubric import Rubric, builtin, load_rubric
from coigw_judge.prompting.template import load_template
from coigw_judge.run import stages
from coigw_judge.scan import input_checks
from coigw_judge.scan.input_checks import check_columns
from coigw_judge.store.parts import Store


def check_files() -> list[str]:
    """Check every shipped rubric with its prompt; one line each. Raises FixRubric at the first fault."""
    lines = []
    for path in sorted(builtin("rubrics").glob("*.yaml")):
        rubric = load_rubric(path)
        if rubric.name != path.stem:
            raise FixRubric(f"{path}: name: {rubric.name} must be the file's name, {path.stem}")
        lines.append(check_rubric(rubric))
    return lines


def check_rubric(rubric: Rubric) -> str:
    """Load the prompt, render it, and see that a gate over the rubric can be passed and failed. Raises FixRubric."""
    for reasons in ("none", "short", "full"):
        template = load_template(rubric, reasons)
    template.render(dict.fromkeys(rubric.fields, "试"), None)
    names = [f"{rubric.name}.{d.key}" for d in rubric.dimensions]
    checks = [f"{rubric.name}.{c.key}" for c in rubric.checks]
    gate = Gate(each=rubric.scale.max, over=tuple(names), require=tuple(checks))
    best = gate.decide(dict.fromkeys(names, rubric.scale.max), dict.fromkeys(checks, True))
    if best.decision != "kept":
        raise FixRubric(f"{rubric.path}: a gate over this rubric can never be passed: {best.reasons[0].text}")
    kinds = {"dimensions": rubric.dimensions, "checks": rubric.checks, "choices": rubric.choices, "notes": rubric.notes}
    gives = ", ".join(f"{len(items)} {kind}" for kind, items in kinds.items() if items)
    return f"ok  rubric {rubric.name} ({rubric.title}): reads {', '.join(rubric.reads)}; gives {gives}"


def check_job(job: LoadedJob) -> list[str]:
    """Check a job's input, rubrics and judge; the judge is started for its self-test. Raises CoigwError."""
    lines = [check_rubric(rubric) for rubric in job.all_rubrics]
    files = list_input_files(job.config.input.paths, job.base, job.config.input.encoding)
    check_columns(job, files)
    lines.append(f"ok  input: {len(files)} files, {sum(file.size for file in files):,} bytes")
    lines += [f"!!  {line}" for line in input_checks.of_first_rows(files, job.config.input.columns)]
    stray = stray_files(job.config.input.paths, job.base)
    if stray:
        others = f" and {len(stray) - 3:,} more" if len(stray) > 3 else ""
        lines.append(f"    input: passed over, of no known format: {', '.join(stray[:3])}{others}")
    planned = plan_for_fill(job, Store(job.store))
    recipe = make_recipe(job, planned.plan, planned.identity.fingerprint, f"check-{secrets.token_hex(2)}", False)
    stages.verify_prompts(job, planned)
    tokens = _context_use(job, recipe)
    lines.append(f"ok  prompts: decode to what the model's chat template renders{tokens}")
    asyncio.run(_test(recipe, job))
    lines.append(f"ok  judge: {planned.identity.model} answered the self-test ({planned.identity.fingerprint[:12]})")
    return lines


def _context_use(job: LoadedJob, recipe: Recipe) -> str:
    encoder = engine_of(job.config.judge).encoder()
    if encoder is None:
        return " (the server renders them)"
    counts = [len(encoder.encode(specimen_ask(recipe, rubric).prompt)) for rubric in job.all_rubrics]
    return f"; {min(counts)}-{max(counts)} tokens without a record's text"


async def _test(recipe: Recipe, job: LoadedJob) -> None:
    judge: Judge = open_judge(job.config.judge)
    try:
        await self_test(recipe, judge)
    finally:
        await judge.close()
