"""vLLM's engine as a judge: the only room that knows vllm.

engine.py           its Engine (judges/protocol.py): answers before it is started
arguments.py        the engine's arguments
judge.py            the judge: requests and replies
ranks.py            data parallel ranks
cpu_cores.py        which processors an engine on CPUs gets
prefix_cache.py     what an ideal prefix cache would have held
expected_scores.py, token_text.py    a score's distribution, from its tokens' probabilities
"""
