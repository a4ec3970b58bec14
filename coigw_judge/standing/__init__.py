"""Where each record stands: its row joined with its facts, and what is still to ask.

join.py           a bucket of records with its facts, by pattern
survey.py         which rows are open
asked_in_full.py  the share of records that is asked everything, counted by scorecard
"""
