"""The pass that costs judge time: one record's requests, asked, read and written as facts.

filler.py     records as coroutines, over one judge
retries.py    which replies are asked again
ledger.py     what was asked, and what it cost
expected.py   expected scores put to an outcome
self_test.py  one request before a fill, to see that the judge answers as it should
"""
