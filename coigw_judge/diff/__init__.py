"""Two runs compared, by record: flips, moved scores, yield.

compare.py  the front
rows.py     both runs' rows, joined by id
tally.py    what is counted of a pair of rows
report.py   counts as findings; text.py prints them
"""
