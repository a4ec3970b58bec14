"""Judges: who answers requests. `Judge.ask(Ask) -> Reply` is all that the rest of the package knows of them.

protocol.py    Judge, Reply, Identity
config.py      `judge` of a job
engines.py     who a judge is, without starting it, so that a second run needs no engine; and starting it
read_reply.py  a Reply as an outcome
hang_watch.py  a judge that gives nothing back
gpu_layout.py, presets.py    GPUs for each replica; models whose settings are known
vllm/, endpoint/, embedded.py    engines; a class of the user's own is one too, by dotted path
"""
