"""report.html: one self-contained page on a run, for the people who must trust it.

    run_columns.py  what the manifest says: dimensions, thresholds
    tally.py        one streaming pass over the verdicts: counts
    examples.py     rows to read, with their texts
    figures.py      counts as bars, histograms and tables
    axes.py, tables.py    places on axes; tables with intervals drawn in a cell
    people.py       what `calibrate` left in the run folder
    diversity.py    lexical diversity of kept and dropped rows
    page.py         the template, and what hostile text must not do

The page needs no network and no server. Its size is bounded by the examples, not by the rows.
"""

from coigw_judge.report.page import build as build
