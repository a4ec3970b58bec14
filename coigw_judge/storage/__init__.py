"""Where bytes lie: local paths and object stores alike, whole or not at all; tables sorted by digest.

paths.py        one name for a local path or a URI; listing, writing under a temporary name
s3.py           the S3 client's settings
hash_ranges.py  Parquet sorted by a digest, read a range at a time
jsonl.py        one JSON value a line
"""
