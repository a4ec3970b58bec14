"""Facts on disk (docs/store.md): written once, never changed, found by the key of their request.

fact.py        one fact, and its columns
parts.py       the store: listing and reading its parts
writer.py      parts appended by one process
half_done.py   the facts that records with open requests have already
key_index.py   a sorted table of keys, searched on disk
compaction.py  many parts become few
verify.py      what `store stats` and `store verify` say
"""
