"""Pure functions of a gate and a record's facts: what is still to ask, and what is decided.

gate.py        thresholds, and what they say of one record
gate_columns.py  the same of many records at once, as columns
scorecard.py   one record's scores and checks
plan.py        what a record still needs: fill and select run this
ask_order.py   in which order rubrics are asked
further_samples.py  who is asked more than once, and what several samples come to
decisions.py   the eight decisions that a row may end as
"""
