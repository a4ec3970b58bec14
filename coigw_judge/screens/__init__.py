"""Screens: what a record shows without a judge (docs/screens.md).

all_screens.py  all of them over one record: the front of this room
config.py       what a job says of them
dates.py, mojibake.py, boilerplate_lines.py, repetition.py, engagement.py, lexical_diversity.py, minhash.py    one each
characters.py   kinds of characters, which several of them count
injection/      records that address their judge
"""
