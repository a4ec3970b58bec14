"""A reply read: Scored, or Unscored with a cause; there is no third thing.

outcome.py        what a reply becomes
parse.py          the front: JSON first, then the more tolerant readers
items.py          values held against the rubric's items
tolerant_json.py, prose.py    replies that are no strict JSON
"""
