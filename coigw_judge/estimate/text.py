"""A plan as a person reads it: tables with units, and behind each number where it is from."""

from collections.abc import Iterator

from coigw_judge.estimate.ask_order import suggestion
from coigw_judge.estimate.estimate import Asked, RunEstimate
from coigw_judge.estimate.speed import LEAST_SECONDS
from coigw_judge.prompting.rubric import REASON_CHARS
from coigw_judge.text.terminal import aligned
from coigw_judge.text.units import clock

_UNKNOWN = "?"


def as_text(made: RunEstimate) -> str:
    """The whole plan."""
    lines = [*_head(made), "", *_requests(made), "", *_tokens(made), "", *_time(made), "", *disk_lines(made)]
    order = list(suggestion.lines(made.order))
    lines += ["", *order] if order else []
    return "\n".join(lines)


def number(value: float | None) -> str:
    """A whole number with thousands separators; `?` where it is not known."""
    return _UNKNOWN if value is None else f"{value:,.0f}"


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while count >= 1024 and step < len(units) - 1:
        count, step = count / 1024, step + 1
    return f"{count:,.0f} {units[step]}" if step == 0 else f"{count:,.1f} {units[step]}"


def _head(made: RunEstimate) -> Iterator[str]:
    yield f"{made.job}: {number(made.rows)} rows, judge {made.model}"
    if made.counted == "exact":
        settled = "" if made.settled is None else f"; {number(made.settled)} of them are settled without the judge"
        yield f"  rows and requests: counted exactly, by a scan of the whole input{settled}"
    else:
        yield (
            f"  rows and requests: estimated from {made.sampled:,} records at {made.places} places of the input, which "
            "was not scanned;"
        )
        yield "  duplicates and screens are not known before `coigw-judge scan`, so this is rather too much"
    if made.whole:
        yield f"  lengths: of all {made.sampled:,} records"
    elif made.counted == "exact":
        yield f"  lengths: of {made.sampled:,} records sampled at {made.places} places, spread over the whole input"
    if made.unreadable:
        share = made.unreadable / made.rows if made.rows else 0.0
        yield f"  unreadable: {share:.1%} of the rows that were read"


def _requests(made: RunEstimate) -> Iterator[str]:
    titles = ("rubric", "applies to", "in store", "failed", "open at most", "spared so far", "early exit", "to ask")
    rows = [[rubric.name, *map(number, _request_numbers(rubric))] for rubric in made.rubrics]
    sums = [sum(values) for values in zip(*map(_request_numbers, made.rubrics), strict=True)]
    yield from aligned([titles, *rows, ["in all", *map(number, sums)]], indent="")
    yield from _on_early_exit(made)
    again = sum(rubric.again for rubric in made.rubrics)
    if again:
        yield f"  second samples (samples.repeat): {number(again)} requests, within `to ask`"
    yield from _on_samples(made)


def _request_numbers(rubric: Asked) -> tuple[float, ...]:
    saved = rubric.expected - rubric.open
    return rubric.applies, rubric.known, rubric.failed, rubric.open, rubric.spared, saved, rubric.requests


def _on_samples(made: RunEstimate) -> Iterator[str]:
    """How many further samples are asked, and what that is estimated from."""
    samples = made.samples
    if samples.most == 1:
        return
    further = sum(rubric.further for rubric in made.rubrics)
    yield f"  further samples (samples): {number(further)} requests, within `to ask`"
    if samples.borderline <= samples.count:
        return
    if made.complete:
        share = f"{made.near / made.complete:.0%} of {made.complete:,} records that no rubric ended"
        yield f"  near a threshold: {share}, from facts of this judge"
    elif made.requests:
        yield "  near a threshold: not known, no facts say it; samples of such records beyond the first are not counted"


def _on_early_exit(made: RunEstimate) -> Iterator[str]:
    """What the column `early exit` is estimated from."""
    then = [rubric for rubric in made.rubrics if rubric.then]
    if made.early_exit:
        with_facts = [rubric for rubric in made.rubrics if rubric.reached and not rubric.then]
        if with_facts:
            said = ", ".join(f"{rubric.name} {rubric.ends:.0%} of {rubric.reached:,}" for rubric in with_facts)
            yield f"  early exit: from facts of this judge, under this gate, each rubric ends: {said}"
            yield "  (of the records that reached it; where facts are of other texts than these, the shares are theirs)"
        missing = [rubric.name for rubric in made.rubrics if not rubric.reached and not rubric.then and rubric.open]
        if missing:
            yield f"  early exit: no facts yet of {', '.join(missing)}, so nothing is assumed to be saved by them"
    if then:
        names = ", ".join(rubric.name for rubric in then)
        if made.complete:
            said = f"{made.passes:.0%} of {made.complete:,} records that no rubric ended are kept or in review"
        else:
            said = "no facts say how many are kept, so all that get there are taken to be"
        yield f"  `then` ({names}) is asked only of what is kept or in review: {said}"


def _tokens(made: RunEstimate) -> Iterator[str]:
    if made.notes:
        yield from (f"  {note}" for note in made.notes)
    if not made.requests:
        yield "tokens: none, everything is in the store"
        return
    titles = ("rubric", "prompt each", "cached each", "reply each", "prompt tokens", "prefilled", "generated")
    rows = [[rubric.name, *_token_cells(rubric)] for rubric in made.rubrics if rubric.requests]
    total = [number(made.total("prompt")), number(made.prefilled), number(made.total("generated"))]
    yield from aligned([titles, *rows, ["in all", "", "", "", *total]], indent="")
    yield from _on_tokens(made)


def _token_cells(rubric: Asked) -> list[str]:
    per = [None if v is None else v / rubric.requests for v in (rubric.prompt, rubric.cached, rubric.generated)]
    prefilled = None if rubric.prompt is None or rubric.cached is None else rubric.prompt - rubric.cached
    return [*map(number, per), number(rubric.prompt), number(prefilled), number(rubric.generated)]


def _on_tokens(made: RunEstimate) -> Iterator[str]:
    prompt, cached = made.total("prompt"), made.total("cached")
    if prompt and cached is not None:
        block = f", whole blocks of {made.block} tokens" if made.block else ""
        yield (
            f"  prompt tokens: {number(prompt)} without a cache, {number(prompt - cached)} with the shared prefix "
            f"({cached / prompt:.0%} cached{block})"
        )
        if any(rubric.lengths_from == "facts" for rubric in made.rubrics):
            yield "  lengths and hits are the means of facts in the store"
        else:
            yield "  (cached is what an engine gets that holds the records at work; a full KV cache gets less)"
    if made.prompt_low is not None:
        spread = max(made.total("prompt") or 0.0, 1.0)
        low, high = made.prompt_low, made.prompt_high or 0.0
        yield (
            f"  sampling error: prompt tokens lie between {number(low)} and {number(high)} in 95 of 100 samples "
            f"({low / spread - 1:+.0%}, {high / spread - 1:+.0%})"
        )
    elif made.whole and prompt:
        yield "  no sampling error: every record was tokenised"
    yield from _on_replies(made)
    if made.long_records:
        one_of = f"over the context: {made.long_records:,} of {made.sampled:,} sampled records"
        fate = "they would be shown by their beginning and their end"
        if made.long_text != "head_tail":
            fate = "they would be unscored (too_long); `long_text: head_tail` shows their beginning and their end"
        yield f"  {one_of}; {fate}"


def _on_replies(made: RunEstimate) -> Iterator[str]:
    asked = [rubric for rubric in made.rubrics if rubric.requests]
    facts = [f"{rubric.name} {rubric.facts:,}" for rubric in asked if rubric.replies_from == "facts"]
    assumed = [rubric.name for rubric in asked if rubric.replies_from == "assumed"]
    if facts:
        how = f"means of facts of this judge (reasons: {made.reasons}), tries included"
        yield f"  generated tokens: {how}: {', '.join(facts)}"
    if assumed:
        limit = REASON_CHARS[made.reasons]
        how = f"every reason takes its {limit} characters (reasons: {made.reasons})" if limit else "no reasons"
        yield f"  generated tokens: ASSUMED for {', '.join(assumed)}: {how}, every note its limit; so rather too much"
    unknown = [rubric.name for rubric in asked if rubric.generated is None]
    if unknown:
        yield f"  generated tokens: not known for {', '.join(unknown)}: no facts yet, no tokenizer here"


def _time(made: RunEstimate) -> Iterator[str]:
    least, most = made.replicas
    count = f"{most}" if least == most else f"{least} to {most}"
    gpus = f"{made.gpus_per_replica:g} GPUs each" if made.gpus_per_replica else "no GPU"
    where = f"time on {count} replica{'' if most == 1 else 's'} ({gpus})"
    if made.seconds is None:
        yield (
            f"{where}: not known; no rate is. Measure one with `coigw-judge run JOB --limit 200`, or give "
            "`--rate prefill=TOKENS,decode=TOKENS` (per second and replica)"
        )
        return
    fewest, all_of_them = (clock(value) for value in made.seconds)
    said = all_of_them if least == most else f"{all_of_them} with {most}, {fewest} with {least}"
    start = f", and {clock(made.startup)} to start" if made.startup is not None else "; the judge's start not counted"
    yield f"{where}: {said} (h:mm:ss){start}"
    yield f"  {_on_rate(made)}"
    if made.gpu_hours is not None:
        hours = sorted(set(made.gpu_hours))
        yield f"  GPU hours: {' to '.join(f'{value:,.2f}' for value in hours)}"
        if made.price_per_gpu_hour is not None:
            costs = " to ".join(f"{value * made.price_per_gpu_hour:,.2f}" for value in hours)
            yield f"  price: {costs} at {made.price_per_gpu_hour:g} per GPU hour, as given"


def _on_rate(made: RunEstimate) -> str:
    rate = made.rate
    if made.rate_from == "given":
        return (
            f"rate: as given, {rate['prefill']:,.0f} prompt tokens prefilled and {rate['decode']:,.0f} generated per "
            "second and replica; not measured"
        )
    if not rate:
        return "nothing to ask"
    per = rate["tokens_per_second"]
    said = f"{per:,.0f} tokens" if per else f"{rate['requests_per_second']:,.2f} requests"
    short = "; a run that short says little" if rate["seconds"] < LEAST_SECONDS else ""
    mix = ""
    generated, prefilled = made.total("generated"), made.prefilled
    if per and generated is not None and prefilled is not None and prefilled + generated:
        then = rate["generated"] / max(1, rate["generated"] + rate["prefilled"])
        mix = f", {then:.0%} of them generated (here {generated / (generated + prefilled):.0%})"
    return (
        f"rate: measured by {rate['run']} on {rate['device']}: {said} prefilled or generated per second and "
        f"replica{mix}, over {clock(rate['seconds'])}{short}"
    )


def disk_lines(made: RunEstimate) -> Iterator[str]:
    need = made.bytes
    from_facts = "as facts in the store take" if made.fact_bytes_from == "facts" else "ASSUMED: texts at their limits"
    yield (
        f"disk: facts {size(need['facts'])} ({from_facts}), verdicts at most {size(need['verdicts'])}, written folders "
        f"{size(need['folders'])}, scan {size(need['scan'])}, for a time {size(need['work'])} of work files"
    )
    for room in made.rooms:
        line = f"  {' and '.join(room.paths)}: needs {size(room.needed)}, {size(room.free)} free"
        yield line if room.fits else f"  ! DOES NOT FIT: {line.strip()}; make room, or give --store and --out elsewhere"
