"""Files of the input as rows, each in one of its splits: Parquet, JSONL, CSV.

listing.py    which files there are; what a row is
encoding.py   bytes of a text file as text
jsonl_csv.py, parquet.py    one reader a format
splits.py     what one task reads: the front of this room
pick.py       a few rows read again, by file and position
"""
