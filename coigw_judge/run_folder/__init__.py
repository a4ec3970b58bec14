"""A run folder read again: manifest, verdicts, the rows behind them, and why a row was decided as it was.

Whoever reads a run needs this room alone, and no Ray.
"""
