"""The dry run's arithmetic: requests, tokens, time and bytes of a run; and afterwards how far off that was.

sample.py            some records, spread over the whole input
sampled_standing.py  which rubrics records wait for, from a scan and the store, or from the sample
history.py           how likely each rubric is asked, tries and lengths of replies, from facts of the same judge
prompt_tokens.py     tokens of each request, and how many of them an ideal prefix cache holds
ask_order/           the cheapest order of rubrics
speed.py             seconds and GPU hours, from rates that are given or were measured
disk.py              bytes
make.py              all of it put together; estimate.py holds the result, text.py prints it
"""

from coigw_judge.estimate.estimate import RunEstimate as RunEstimate
from coigw_judge.estimate.make import RUN_SAMPLE as RUN_SAMPLE
from coigw_judge.estimate.make import SAMPLE_RECORDS as SAMPLE_RECORDS
from coigw_judge.estimate.make import make as make
