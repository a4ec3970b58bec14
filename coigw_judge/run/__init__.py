"""One run from end to end, and what it reports: stages, manifest, summary, checks, the dry run.

stages.py       begin, fill, select
state.py        the state of a run, from scan to manifest
estimates.py    the estimate before the fill, and what is kept for the next one
manifest.py, summary.py    what came in, what was decided, what it cost
progress.py     the line that moves while a fill runs
check.py, dry_run.py       `coigw-judge check` and `plan`
earlier_run.py  what an earlier run of the job gave
"""
