"""A run folder read again: manifest, verdicts, the rows behind them, and why a row was decided as it was.

A reader of runs needs this room alone, and no Ray.
"""
