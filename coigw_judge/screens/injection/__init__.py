"""Records that address their judge: rules by language over a text without its disguises.

detect.py       the front: does a text address its judge, and in which words
undisguised.py  a text without disguises
rules.py        what a rule is and how it is tried; the rules themselves stand in data/injection/
"""
