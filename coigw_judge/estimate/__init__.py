"""The dry run's arithmetic: what a run would ask, prefill, generate, take and leave behind; and how far off that was.

sample.py    some records, spread over the whole input
states.py    who waits for which rubrics, from a scan and the store, or from the sample
facts.py     how likely each is asked, tries and lengths of replies, from facts of the same judge
tokens.py    tokens of each request, and how many of them an ideal prefix cache holds
lengths.py   mean lengths, piece by piece, for any order of asks
order.py     the cheapest order; ordering.py says what is known of it
time.py      seconds and GPU hours, from rates that are given or were measured
disk.py      bytes
make.py      all of it put together; figures.py holds the result, text.py prints it
"""

from coigw_judge.estimate.figures import Estimate as Estimate
from coigw_judge.estimate.make import RUN_SAMPLE as RUN_SAMPLE
from coigw_judge.estimate.make import SAMPLE_RECORDS as SAMPLE_RECORDS
from coigw_judge.estimate.make import make as make
