"""Judges: who answers requests. `Judge.ask(Ask) -> Reply` is all that the rest of the package knows of them.

protocol.py    Judge, Reply, Identity; and Engine: what a kind of judge answers before one is started
config.py      `judge` of a job
engines.py     from `judge.engine` to its Engine
read_reply.py  a Reply as an outcome
hang_watch.py  a judge that gives nothing back
gpu_layout.py, presets.py    GPUs for each replica; models whose settings are known
vllm/, endpoint/, own_class.py   the engines; the last is a class of the user's own, by dotted path
embedded.py    an untrained model that comes with the package
model_files.py where a model's small files lie
"""
