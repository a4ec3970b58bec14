"""The command line: arguments, printing, exit codes.

main.py         the parser, and how errors are printed
options.py      what several commands share
jobs.py         commands that are given a job file
runs.py, people.py    commands that are given a run folder; show.py prints one record
store.py        commands that are given a store
job_scripts.py  what the scripts of jobs/ call
"""
